//! A person with a browser: cookies, requests, and connections that carry them.

use std::net::SocketAddr;

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use super::app::PASSWORD;
use super::described::is_described;
use super::{SseClient, Way, WsClient};

/// Somebody, logged in or not.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) address: SocketAddr,
    http: Client,
    /// The session's cookie, as it is sent.
    pub(crate) cookie: Option<String>,
    /// The token that is shown beside it, and where.
    token: Option<(Shown, String)>,
    /// The socket that is named in requests.
    socket: Option<String>,
    /// What is shown instead of a cookie.
    bearer: Option<String>,
}

/// Where a token is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// `Authorization: Bearer`
    Header,
    /// `?token=`
    Query,
}

impl Shown {
    pub(crate) const BOTH: [Self; 2] = [Self::Header, Self::Query];
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) json: Value,
}

impl Answer {
    /// The `Event-Cursor`.
    pub(crate) fn cursor(&self) -> String {
        self.headers["event-cursor"].to_str().unwrap().to_owned()
    }

    /// The id of what was made.
    pub(crate) fn id(&self) -> String {
        assert_eq!(self.status, StatusCode::CREATED, "{self:?}");
        self.json["id"].as_str().unwrap().to_owned()
    }

    /// Fails unless it is this status.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }

    /// Fails unless it is this problem.
    #[expect(
        clippy::wrong_self_convention,
        reason = "it passes the answer on, for the next thing to be said of it"
    )]
    #[track_caller]
    pub(crate) fn is_problem(self, status: u16, code: &str) -> Self {
        assert_eq!(
            (self.status.as_u16(), self.json["code"].as_str()),
            (status, Some(code)),
            "{self:?}"
        );
        assert_eq!(self.headers["content-type"], "application/problem+json");
        self
    }
}

impl Person {
    pub(crate) fn nobody(address: SocketAddr) -> Self {
        Self {
            id: String::new(),
            address,
            // Without the certificates of the machine, which take long to read, and nobody here has one.
            http: Client::builder().tls_certs_only([]).build().unwrap(),
            cookie: None,
            token: None,
            socket: None,
            bearer: None,
        }
    }

    /// Somebody new, logged in.
    pub(crate) async fn somebody(address: SocketAddr, name: &str) -> Self {
        let mut person = Self::nobody(address);
        person.register(name).await;
        person.log_in(name).await;
        person
    }

    pub(crate) async fn register(&mut self, name: &str) {
        self.id = self
            .post(
                "/auth/register",
                json!({ "username": name, "password": PASSWORD }),
            )
            .await
            .id();
    }

    pub(crate) async fn log_in(&mut self, name: &str) {
        let answer = self
            .post(
                "/auth/login",
                json!({ "username": name, "password": PASSWORD }),
            )
            .await
            .is(200);
        self.id = answer.json["id"].as_str().unwrap().to_owned();
        let cookie = answer.headers["set-cookie"].to_str().unwrap();
        self.cookie = cookie.split(';').next().map(str::to_owned);
    }

    /// The same person, who names a socket in each request.
    pub(crate) fn at(&self, socket: &str) -> Self {
        Self {
            socket: Some(socket.to_owned()),
            ..self.clone()
        }
    }

    /// The same person, who shows a key or a token in each request.
    pub(crate) fn showing(&self, bearer: &str) -> Self {
        Self {
            bearer: Some(bearer.to_owned()),
            ..self.clone()
        }
    }

    /// The same person, who shows a token beside whatever else there is.
    pub(crate) fn with_token(&self, shown: Shown, token: &str) -> Self {
        Self {
            token: Some((shown, token.to_owned())),
            ..self.clone()
        }
    }

    /// The same person, after the server has come back at another address.
    pub(crate) fn moved_to(&self, address: SocketAddr) -> Self {
        Self {
            address,
            ..self.clone()
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.request(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.request(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.request(Method::PATCH, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.request(Method::DELETE, path, None).await
    }

    async fn request(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.builder(method, &format!("/api/v1{path}"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        Self::send(request).await
    }

    /// A request to any path, to be changed before it is sent.
    pub(crate) fn builder(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let mut address = format!("http://{}{path}", self.address);
        if let Some((Shown::Query, token)) = &self.token {
            address.push(if path.contains('?') { '&' } else { '?' });
            address.push_str(&format!("token={token}"));
        }
        let mut request = self.http.request(method, address);
        for (name, value) in self.credentials() {
            request = request.header(name, value);
        }
        if let Some(bearer) = &self.bearer {
            request = request.bearer_auth(bearer);
        }
        if let Some(socket) = &self.socket {
            request = request.header("x-socket-id", socket);
        }
        request
    }

    /// The headers that say who this is.
    fn credentials(&self) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        headers.extend(self.cookie.clone().map(|cookie| ("cookie", cookie)));
        if let Some((Shown::Header, token)) = &self.token {
            headers.push(("authorization", format!("Bearer {token}")));
        }
        headers
    }

    /// Sends a request and reads the answer to its end.
    pub(crate) async fn send(request: reqwest::RequestBuilder) -> Answer {
        Self::try_send(request).await.unwrap()
    }

    /// The same, of a server that may be gone before it has answered.
    pub(crate) async fn try_send(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
        let (client, request) = request.build_split();
        let request = request?;
        let (method, url) = (request.method().clone(), request.url().clone());
        let response = client.execute(request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await?;
        let json =
            serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into());
        let answer = Answer {
            status,
            headers,
            json,
        };
        is_described(&method, url.path(), &answer);
        Ok(answer)
    }

    /// Opens a WebSocket; `query` is what comes after the question mark.
    pub(crate) async fn ws(&self, query: &str) -> WsClient {
        let mut query = query.to_owned();
        if let Some((Shown::Query, token)) = &self.token {
            query.push_str(&format!("&token={token}"));
        }
        WsClient::connect_with(self.address, &query, &self.credentials())
            .await
            .unwrap()
    }

    /// Opens an event stream; `query` is what comes after the question mark.
    pub(crate) async fn sse(&self, query: &str) -> SseClient {
        SseClient::connect(self.builder(Method::GET, &format!("/sse/events?{query}"))).await
    }

    /// A root of this person's own.
    pub(crate) async fn makes_root(&self, name: &str) -> String {
        self.post("/document-roots", json!({ "name": name }))
            .await
            .id()
    }

    /// A document under a root.
    pub(crate) async fn makes_document(&self, root: &str, data: Value) -> String {
        self.post(
            "/documents",
            json!({ "rootId": root, "type": "text", "data": data }),
        )
        .await
        .id()
    }

    /// Changes a document, and says where in the log that is.
    pub(crate) async fn changes(&self, document: &str, data: Value) -> String {
        self.put(&format!("/documents/{document}"), json!({ "data": data }))
            .await
            .is(204)
            .cursor()
    }

    /// Lets somebody else read or write a root.
    pub(crate) async fn lets(&self, other: &Person, access: &str, root: &str) {
        let path = format!("/document-roots/{root}/permissions/users/{}", other.id);
        self.put(&path, json!({ "access": access })).await.is(204);
    }

    /// Lets a group read or write a root.
    pub(crate) async fn lets_group(&self, group: &str, access: &str, root: &str) {
        let path = format!("/document-roots/{root}/permissions/groups/{group}");
        self.put(&path, json!({ "access": access })).await.is(204);
    }

    /// Takes somebody's right to a root away.
    pub(crate) async fn bars(&self, other: &Person, root: &str) {
        self.delete(&format!(
            "/document-roots/{root}/permissions/users/{}",
            other.id
        ))
        .await
        .is(204);
    }

    /// Takes a group's right to a root away.
    pub(crate) async fn bars_group(&self, group: &str, root: &str) {
        self.delete(&format!(
            "/document-roots/{root}/permissions/groups/{group}"
        ))
        .await
        .is(204);
    }

    /// A chat room: open, or of a group.
    pub(crate) async fn makes_room(&self, name: &str, group: Option<&str>) -> String {
        self.post("/rooms", json!({ "name": name, "groupId": group }))
            .await
            .id()
    }

    /// Says something in a chat room.
    pub(crate) async fn says(&self, room: &str, text: &str) -> Answer {
        let path = format!("/rooms/{room}/messages");
        self.post(&path, json!({ "text": text })).await
    }

    /// A group that this person manages.
    pub(crate) async fn makes_group(&self, name: &str) -> String {
        self.post("/groups", json!({ "name": name })).await.id()
    }

    /// Takes somebody into a group.
    pub(crate) async fn admits(&self, other: &Person, group: &str) {
        self.put(&format!("/groups/{group}/members/{}", other.id), json!({}))
            .await
            .is(204);
    }

    /// Puts somebody out of a group.
    pub(crate) async fn expels(&self, other: &Person, group: &str) {
        self.delete(&format!("/groups/{group}/members/{}", other.id))
            .await
            .is(204);
    }

    /// What a connection is refused with, whichever way it is tried.
    pub(crate) async fn is_refused(&self, way: Way, query: &str) -> Answer {
        match way {
            Way::Sse => {
                Self::send(self.builder(Method::GET, &format!("/sse/events?{query}"))).await
            }
            Way::WebSocket => Self::send(self.upgrade(query)).await,
            Way::Poll => self.polls(query).await,
        }
    }

    /// The request that opens a WebSocket, to be changed before it is sent.
    pub(crate) fn upgrade(&self, query: &str) -> reqwest::RequestBuilder {
        self.builder(Method::GET, &format!("/ws?{query}"))
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    }
}
