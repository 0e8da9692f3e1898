//! What is accepted, and that nothing else is.

use serde_json::{Value, json};

use super::*;

fn secret() -> Secret {
    Secret::from("a secret of thirty-two bytes at least")
}

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
}

fn signed(claims: &str) -> String {
    let claims: Box<RawValue> = serde_json::from_str(claims).unwrap();
    let key = EncodingKey::from_secret(secret().expose().as_bytes());
    encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap()
}

fn with(change: Value) -> String {
    let mut claims = json!({ "sub": "ada", "exp": 1_800_000_060 });
    let object = claims.as_object_mut().unwrap();
    object.extend(change.as_object().unwrap().clone());
    object.retain(|_, claim| *claim != "gone");
    signed(&claims.to_string())
}

fn refusal(token: &str) -> Invalid {
    verify(&secret(), token.as_bytes(), now()).expect_err(token)
}

#[test]
fn what_is_made_is_accepted_and_says_the_same() {
    let mut claims = Claims::new(
        UserId::parse("app~7").unwrap(),
        now() + Duration::from_secs(1),
    );
    let verified = |claims: &Claims| {
        verify(
            &secret(),
            mint(&secret(), claims).unwrap().as_bytes(),
            now(),
        )
    };
    assert_eq!(verified(&claims).as_ref(), Ok(&claims));
    claims.name = Some("Ada L.".into());
    claims.channels = (0..128)
        .map(|n| format!("order:{n}").parse().unwrap())
        .collect();
    claims.session = Some(SessionKey("abc".into()));
    assert_eq!(verified(&claims), Ok(claims));
}

#[test]
fn what_would_not_be_accepted_is_not_made() {
    let claims = Claims::new(UserId::parse("ada").unwrap(), now());
    for (name, channel, count, why) in [
        ("", "a:b", 1, Invalid::Name),
        ("Ada\n", "a:b", 1, Invalid::Name),
        ("Ada", "a:b", 129, Invalid::Channels),
        (
            "Ada",
            "socket:0190a6d2-7e2a-7cc0-b1f5-3c1f0a9d4e11",
            1,
            Invalid::Channels,
        ),
        (
            "Ada",
            &format!("a:{}", "b".repeat(128)),
            128,
            Invalid::TooLong,
        ),
    ] {
        let channel: Channel = channel.parse().unwrap();
        let claims = Claims {
            name: Some(name.into()),
            channels: vec![channel; count].into(),
            ..claims.clone()
        };
        assert_eq!(mint(&secret(), &claims), Err(why));
    }
}

#[test]
fn claims_that_are_missing_doubled_or_wrong_are_refused() {
    let many: Vec<String> = (0..129).map(|n| format!("a:{n}")).collect();
    for (change, why) in [
        (json!({ "sub": "gone" }), Invalid::Claims),
        (json!({ "sub": 7 }), Invalid::Claims),
        (json!({ "sub": "" }), Invalid::User),
        (json!({ "sub": "a b" }), Invalid::User),
        (json!({ "sub": "a".repeat(129) }), Invalid::User),
        (json!({ "exp": "gone" }), Invalid::Expires),
        (json!({ "exp": null }), Invalid::Expires),
        (json!({ "exp": "1800000060" }), Invalid::Claims),
        (json!({ "exp": 253_402_300_800_u64 }), Invalid::Expires),
        (json!({ "exp": u64::MAX }), Invalid::Expires),
        (json!({ "exp": 1e300 }), Invalid::Expires),
        (json!({ "exp": -1e300 }), Invalid::Expires),
        (json!({ "exp": -1 }), Invalid::Ended),
        (json!({ "exp": 9_999 }), Invalid::Ended),
        (json!({ "exp": 1_800_000_000 }), Invalid::Ended),
        (json!({ "nbf": 1_800_000_006 }), Invalid::NotYet),
        (json!({ "nbf": u64::MAX }), Invalid::Claims),
        (json!({ "nbf": "soon" }), Invalid::Claims),
        (json!({ "aud": "other" }), Invalid::Audience),
        (json!({ "aud": ["roomcast"] }), Invalid::Audience),
        (json!({ "name": "" }), Invalid::Name),
        (json!({ "name": " Ada" }), Invalid::Name),
        (json!({ "name": "a".repeat(101) }), Invalid::Name),
        (json!({ "name": "Ada\u{202e}" }), Invalid::Name),
        (json!({ "name": 7 }), Invalid::Claims),
        (json!({ "channels": "global" }), Invalid::Claims),
        (json!({ "channels": [7] }), Invalid::Claims),
        (json!({ "channels": ["*"] }), Invalid::Channels),
        (json!({ "channels": ["document:*"] }), Invalid::Channels),
        (json!({ "channels": ["a:1", "lobby"] }), Invalid::Channels),
        (
            json!({ "channels": ["socket:0190a6d2-7e2a-7cc0-b1f5-3c1f0a9d4e11"] }),
            Invalid::Channels,
        ),
        (json!({ "channels": many }), Invalid::Channels),
        (json!({ "extra": "x".repeat(8_192) }), Invalid::TooLong),
    ] {
        assert_eq!(refusal(&with(change.clone())), why, "{change}");
    }
    for claims in [
        r#"{"sub":"ada","sub":"bob","exp":1800000060}"#,
        r#"{"sub":"ada","exp":1800000060,"exp":1900000000}"#,
        r#"{"sub":"ada","exp":1800000060,"channels":[],"channels":["a:1"]}"#,
        r#"["ada",1800000060,null,null,null,null,null]"#,
    ] {
        let why = refusal(&signed(claims));
        assert!(
            matches!(why, Invalid::Claims | Invalid::Form),
            "{claims}: {why:?}"
        );
    }
}

#[test]
fn what_is_odd_but_right_is_accepted() {
    for (change, expires) in [
        (json!({}), 1_800_000_060.0),
        (json!({ "exp": 1_800_000_000.5 }), 1_800_000_000.5),
        (json!({ "exp": 253_402_300_799_u64 }), 253_402_300_799.0),
        (
            json!({ "nbf": 1_800_000_004, "iat": 7, "jti": "x", "iss": "app" }),
            1_800_000_060.0,
        ),
        (
            json!({ "channels": ["a:1", "a:1", "global", "presence:a:1"] }),
            1_800_000_060.0,
        ),
        (
            json!({ "channels": [], "name": "Ada Lovelace" }),
            1_800_000_060.0,
        ),
    ] {
        let claims = verify(&secret(), with(change.clone()).as_bytes(), now());
        let claims = claims.unwrap_or_else(|why| panic!("{change}: {why}"));
        let seconds = claims.expires.unix_timestamp_nanos() as f64 / 1e9;
        assert!((seconds - expires).abs() < 0.001, "{change}: {seconds}");
    }
}

#[test]
fn what_is_signed_in_any_other_way_is_refused() {
    let good = with(json!({}));
    assert!(verify(&secret(), good.as_bytes(), now()).is_ok());
    let claims: Value = json!({ "sub": "ada", "exp": 1_800_000_060 });
    let key = EncodingKey::from_secret(secret().expose().as_bytes());
    let as_if = |header: Header| encode(&header, &claims, &key).unwrap();
    let header = || Header::new(Algorithm::HS256);
    for (token, why) in [
        (as_if(Header::new(Algorithm::HS512)), Invalid::Header),
        (
            as_if(Header {
                kid: Some("../../dev/null".into()),
                ..header()
            }),
            Invalid::Header,
        ),
        (
            as_if(Header {
                crit: Some(vec!["b64".into()]),
                ..header()
            }),
            Invalid::Header,
        ),
        (
            as_if(Header {
                typ: Some("at+jwt".into()),
                ..header()
            }),
            Invalid::Header,
        ),
        (
            encode(&header(), &claims, &EncodingKey::from_secret(b"another")).unwrap(),
            Invalid::Signature,
        ),
        (
            format!("{}AAA", &good[..good.len() - 3]),
            Invalid::Signature,
        ),
        (format!("{good}="), Invalid::Form),
        (format!(" {good}"), Invalid::Form),
        (good[..good.len() - 43].to_owned(), Invalid::Signature),
        (String::new(), Invalid::Form),
        ("abc".into(), Invalid::Form),
        ("..".into(), Invalid::Form),
        ("\0.\0.\0".into(), Invalid::Form),
        ("a.".repeat(4_096), Invalid::Form),
        ("x".repeat(64 * 1024), Invalid::TooLong),
    ] {
        assert_eq!(refusal(&token), why, "{token:.60}");
    }
    // alg none, with the claims of the good one; and RS256, as if the secret were a public key.
    let mut parts = good.split('.').skip(1);
    let (claims, signature) = (parts.next().unwrap(), parts.next().unwrap());
    for header in [
        "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0",
        "eyJhbGciOiJOb25lIn0",
        "eyJ0eXAiOiJKV1QifQ",
        "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9",
    ] {
        for signature in ["", signature] {
            let why = refusal(&format!("{header}.{claims}.{signature}"));
            assert!(
                matches!(why, Invalid::Form | Invalid::Header),
                "{header}: {why:?}"
            );
        }
    }
}

#[test]
fn an_end_is_at_the_end_of_a_second_and_never_too_soon() {
    let end = |nanoseconds: i64, ttl| {
        let now = now() + time::Duration::nanoseconds(nanoseconds);
        end_of(now, Duration::from_millis(ttl)).unwrap() - now
    };
    assert_eq!(end(0, 1_000), time::Duration::SECOND);
    assert_eq!(end(1, 1_000), time::Duration::nanoseconds(1_999_999_999));
    assert_eq!(end(0, 1), time::Duration::SECOND);
    assert_eq!(end_of(now(), Duration::MAX), None);
}
