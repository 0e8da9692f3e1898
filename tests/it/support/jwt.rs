//! Tokens made by hand, as an application in another language would: nothing here is the server's own code.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// The secret that tests sign with.
pub(crate) const SECRET: &str = "a secret that only tests know, 32 bytes and more";

/// Signs claims as they stand, under any header.
pub(crate) fn signed(secret: &str, header: &Value, claims: &str) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(message.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    format!("{message}.{signature}")
}

/// A token for somebody that ends in so many milliseconds, with further claims.
pub(crate) fn token(user: &str, milliseconds: i64, further: &Value) -> String {
    let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    let ends = (now as i64 + milliseconds) as f64 / 1_000.0;
    let mut claims = json!({ "sub": user, "exp": ends });
    let object = claims.as_object_mut().unwrap();
    object.extend(further.as_object().unwrap().clone());
    signed(
        SECRET,
        &json!({ "alg": "HS256", "typ": "JWT" }),
        &claims.to_string(),
    )
}

/// What a token says.
pub(crate) fn claims(token: &str) -> Value {
    let claims = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}
