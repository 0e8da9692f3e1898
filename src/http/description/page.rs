//! The page for people: the description, section by section, as plain HTML. Its script copies and filters, and without it
//! all is there to read.

use std::fmt::Write;

use serde_json::Value;
use utoipa::openapi::OpenApi;

use super::markup::{bounds, escaped, kind, line, name_of, prose};

pub(super) const STYLE: &str = include_str!("page.css");
pub(super) const SCRIPT: &str = include_str!("page.js");

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// An operation, where it stands.
#[derive(Clone, Copy)]
struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    about: &'a Value,
}

impl Operation<'_> {
    fn id(&self) -> &str {
        self.about["operationId"].as_str().unwrap_or_default()
    }
}

/// The description, to be looked things up in.
struct Described {
    all: Value,
}

/// The page of a description.
pub(super) fn of(openapi: &OpenApi) -> String {
    // A tree of maps and strings: nothing that cannot be JSON.
    let all = serde_json::to_value(openapi).unwrap_or_default();
    Described { all }.page()
}

impl Described {
    fn page(&self) -> String {
        let (title, version) = (
            text(&self.all["info"]["title"]),
            text(&self.all["info"]["version"]),
        );
        let mut html = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title} API</title>\n\
             <link rel=\"icon\" href=\"data:,\">\n\
             <link rel=\"stylesheet\" href=\"/docs.css\">\n<script src=\"/docs.js\" defer></script>\n</head>\n<body>\n\
             <a class=\"skip\" href=\"#overview\">To the text</a>\n"
        );
        self.navigation(&mut html, title, version);
        let _ = write!(
            html,
            "<main>\n<section id=\"overview\">\n<h1>{title} API</h1>\n"
        );
        html += &prose(text(&self.all["info"]["description"]));
        html += "<p>The commands below know where the server is, and who you are:</p>\n";
        html += "<pre class=\"copy\"><code>ROOMCAST=<span id=\"origin\">http://127.0.0.1:3000</span>\n\
                 JSON=&#39;Content-Type: application/json&#39;\nKEY=&#39;Authorization: Bearer …&#39;  # ROOMCAST_API_KEY, for back ends</code></pre>\n";
        self.credentials(&mut html);
        html += "</section>\n";
        for tag in self.all["tags"].as_array().into_iter().flatten() {
            let name = text(&tag["name"]);
            let _ = write!(
                html,
                "<section>\n<h2 id=\"tag-{name}\">{name}</h2>\n{}",
                prose(text(&tag["description"]))
            );
            for operation in self.operations(name) {
                self.operation(&mut html, operation);
            }
            html += "</section>\n";
        }
        self.schemas(&mut html);
        html += "</main>\n</body>\n</html>\n";
        html
    }

    /// The operations of a tag: those of one path together, the shorter paths first.
    fn operations(&self, tag: &str) -> Vec<Operation<'_>> {
        let paths = self.all["paths"].as_object().into_iter().flatten();
        let all = paths.flat_map(|(path, item)| {
            METHODS.iter().filter_map(move |method| {
                Some(Operation {
                    method,
                    path,
                    about: item.get(method)?,
                })
            })
        });
        let mut all: Vec<_> = all.filter(|of| of.about["tags"][0] == tag).collect();
        all.sort_by_key(|operation| {
            let first = operation
                .path
                .trim_start_matches("/api/v1/")
                .split('/')
                .next()
                .unwrap_or_default();
            (first, operation.path.matches('/').count(), operation.path)
        });
        all
    }

    fn navigation(&self, html: &mut String, title: &str, version: &str) {
        let _ = write!(
            html,
            "<nav aria-label=\"Contents\">\n<p class=\"brand\"><a href=\"#overview\">{title}</a> <small>{version}</small></p>\n\
             <p><input id=\"filter\" type=\"search\" placeholder=\"Filter ( / )\" aria-label=\"Filter operations\" hidden></p>\n"
        );
        for tag in self.all["tags"].as_array().into_iter().flatten() {
            let name = text(&tag["name"]);
            let _ = write!(html, "<h2><a href=\"#tag-{name}\">{name}</a></h2>\n<ul>\n");
            for operation in self.operations(name) {
                let (id, method) = (operation.id(), operation.method);
                let path = escaped(operation.path.trim_start_matches("/api/v1"));
                let path = path.replace('/', "<wbr>/");
                let _ = writeln!(
                    html,
                    "<li><a href=\"#{id}\"><b class=\"{method}\">{method}</b> <span>{path}</span></a></li>"
                );
            }
            *html += "</ul>\n";
        }
        *html += "<h2><a href=\"#schemas\">Schemas</a></h2>\n<ul class=\"documents\">\n\
            <li><a href=\"/openapi.json\">OpenAPI</a></li>\n<li><a href=\"/asyncapi.json\">AsyncAPI</a></li>\n</ul>\n</nav>\n";
    }

    fn credentials(&self, html: &mut String) {
        *html += "<h2 id=\"credentials\">Credentials</h2>\n<dl>\n";
        for (name, scheme) in self.all["components"]["securitySchemes"]
            .as_object()
            .into_iter()
            .flatten()
        {
            let _ = writeln!(
                html,
                "<dt><code>{name}</code></dt><dd>{}</dd>",
                line(text(&scheme["description"]))
            );
        }
        *html += "</dl>\n";
    }

    fn operation(&self, html: &mut String, operation: Operation<'_>) {
        let Operation {
            method,
            path,
            about,
        } = operation;
        let _ = write!(
            html,
            "<article id=\"{id}\">\n<h3><a href=\"#{id}\"><b class=\"{method}\">{method}</b> <code>{path}</code></a></h3>\n\
             <p class=\"summary\">{summary}</p>\n{description}<p class=\"who\">{who}</p>\n",
            id = operation.id(),
            path = escaped(path),
            summary = line(text(&about["summary"])),
            description = prose(text(&about["description"])),
            who = self.who(about),
        );
        self.parameters(html, about);
        let body = &about["requestBody"]["content"]["application/json"]["schema"];
        if !body.is_null() {
            let _ = writeln!(html, "<h4>Body</h4>\n<p>{}</p>", kind(body));
            *html += &properties(self.schema(body));
        }
        let _ = writeln!(
            html,
            "<pre class=\"copy\"><code>{}</code></pre>",
            escaped(&self.command(operation))
        );
        *html += "<details>\n<summary>Answers</summary>\n<table>\n";
        for (status, response) in about["responses"].as_object().into_iter().flatten() {
            let shown = self.resolved(response);
            let kinds = shown["content"].as_object().into_iter().flatten();
            let kinds: Vec<_> = kinds
                .map(|(media, of)| format!("{} <small>{media}</small>", kind(&of["schema"])))
                .collect();
            let headers = shown["headers"].as_object().into_iter().flatten();
            let headers: String = headers
                .map(|(name, _)| format!(" <code>{name}</code>"))
                .collect();
            let _ = writeln!(
                html,
                "<tr><th scope=\"row\">{status}</th><td>{} {}<br><small>{headers}</small></td></tr>",
                line(text(&shown["description"])),
                kinds.join(" or "),
            );
        }
        *html += "</table>\n</details>\n</article>\n";
    }

    /// What has to be shown: one of these.
    fn who(&self, about: &Value) -> String {
        let security = about.get("security").unwrap_or(&self.all["security"]);
        let schemes = security
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_object);
        let words = schemes.map(|scheme| match scheme.keys().next() {
            Some(name) => format!("<a href=\"#credentials\">{name}</a>"),
            None => "nothing".to_owned(),
        });
        let words: Vec<_> = words.collect();
        match &*words {
            [nothing] if nothing == "nothing" => "Asks for no credentials.".to_owned(),
            words => format!("Credentials: {}.", words.join(" or ")),
        }
    }

    fn parameters(&self, html: &mut String, about: &Value) {
        let parameters = about["parameters"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        if parameters.is_empty() {
            return;
        }
        *html += "<h4>Parameters</h4>\n<table>\n";
        for parameter in parameters.iter().map(|parameter| self.resolved(parameter)) {
            let needed = if parameter["required"] == true {
                " <em>required</em>"
            } else {
                ""
            };
            let _ = writeln!(
                html,
                "<tr><th scope=\"row\"><code>{}</code><br><small>{}{needed}</small></th><td>{}</td></tr>",
                text(&parameter["name"]),
                text(&parameter["in"]),
                value(text(&parameter["description"]), &parameter["schema"]),
            );
        }
        *html += "</table>\n";
    }

    /// A command for a shell, with the example of the body.
    fn command(&self, operation: Operation<'_>) -> String {
        let Operation {
            method,
            path,
            about,
        } = operation;
        let path = path.split('/').map(|word| {
            match word
                .strip_prefix('{')
                .and_then(|word| word.strip_suffix('}'))
            {
                Some("channel") => "document:42".to_owned(),
                Some("id") => "$ID".to_owned(),
                // A shell has a $USER already.
                Some(name) => format!("${}_ID", name.to_uppercase()),
                None => word.to_owned(),
            }
        });
        let query = if operation.id() == "listDocuments" {
            "?rootId=$ROOT"
        } else {
            ""
        };
        let stream = if path.clone().any(|word| word == "sse") {
            "-N "
        } else {
            ""
        };
        let mut command = format!(
            "curl {stream}\"$ROOMCAST{}{query}\"",
            path.collect::<Vec<_>>().join("/")
        );
        if operation.id() == "openWebSocket" {
            return "new WebSocket(`${ROOMCAST.replace(/^http/, 'ws')}/ws?channel=document:42`)"
                .to_owned();
        }
        let security = about
            .get("security")
            .unwrap_or(&self.all["security"])
            .to_string();
        if operation.id() == "logIn" {
            command += " -c ada.jar";
        } else if security.contains("cookie") {
            command += " -b ada.jar";
        } else if security.contains("apiKey") {
            command += " -H \"$KEY\"";
        }
        let body = &about["requestBody"]["content"]["application/json"]["schema"];
        let example = &self.schema(body)["examples"][0];
        let usual = if example.is_null() { "get" } else { "post" };
        if method != usual {
            let _ = write!(command, " -X {}", method.to_uppercase());
        }
        if !example.is_null() {
            let _ = write!(command, " -H \"$JSON\" \\\n  -d '{example}'");
        }
        command
    }

    fn schemas(&self, html: &mut String) {
        *html += "<section>\n<h2 id=\"schemas\">Schemas</h2>\n";
        for (name, schema) in self.all["components"]["schemas"]
            .as_object()
            .into_iter()
            .flatten()
        {
            let _ = write!(
                html,
                "<article id=\"schema-{name}\">\n<h3><a href=\"#schema-{name}\">{name}</a></h3>\n{}",
                prose(text(&schema["description"])),
            );
            *html += &match schema.get("properties") {
                Some(_) => properties(schema),
                None => format!("<p>{} {}</p>\n", kind(schema), bounds(schema)),
            };
            let example = &schema["examples"][0];
            if !example.is_null() {
                let example = serde_json::to_string_pretty(example).unwrap_or_default();
                let _ = writeln!(html, "<pre><code>{}</code></pre>", escaped(&example));
            }
            *html += "</article>\n";
        }
        *html += "</section>\n";
    }

    /// The schema that a reference names, or the one that stands there.
    fn schema<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema.get("$ref") {
            Some(reference) => &self.all["components"]["schemas"][name_of(reference)],
            None => schema,
        }
    }

    /// The parameter or response that a reference names, or the one that stands there.
    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        let place = value["$ref"]
            .as_str()
            .and_then(|reference| self.all.pointer(reference.trim_start_matches('#')));
        place.unwrap_or(value)
    }
}

/// The fields of an object.
fn properties(schema: &Value) -> String {
    let required = schema["required"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut html = String::from("<table>\n");
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let needed = if required.iter().any(|field| field == name) {
            " <em>required</em>"
        } else {
            ""
        };
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\"><code>{name}</code><br><small>{needed}</small></th><td>{}</td></tr>",
            value(text(&property["description"]), property),
        );
    }
    html + "</table>\n"
}

/// What a value says, and what it can be.
fn value(description: &str, schema: &Value) -> String {
    let said = match description {
        "" => String::new(),
        description => format!("{}<br>", line(description)),
    };
    format!("{said}<small>{} {}</small>", kind(schema), bounds(schema))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
