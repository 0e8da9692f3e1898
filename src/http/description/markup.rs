//! Text as HTML: nothing of it is markup but what stands between signs of our own.

use std::fmt::Write;

use serde_json::Value;

/// Text that stands between tags or in an attribute.
pub(super) fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
}

/// A line of prose: `code` and **what matters**.
pub(super) fn line(text: &str) -> String {
    let marked = |text: &str, sign: &str, tag: &str| {
        let mut html = String::new();
        for (at, part) in text.split(sign).enumerate() {
            let _ = match at % 2 {
                0 => write!(html, "{part}"),
                _ => write!(html, "<{tag}>{part}</{tag}>"),
            };
        }
        html
    };
    marked(&marked(&escaped(text), "**", "strong"), "`", "code")
}

/// Paragraphs of prose.
pub(super) fn prose(text: &str) -> String {
    let paragraphs = text.trim().split("\n\n").filter(|text| !text.is_empty());
    paragraphs
        .map(|text| format!("<p>{}</p>\n", line(text)))
        .collect()
}

/// Where a reference leads, by name: `#/components/schemas/User` is `User`.
pub(super) fn name_of(reference: &Value) -> &str {
    reference
        .as_str()
        .unwrap_or_default()
        .rsplit('/')
        .next()
        .unwrap_or_default()
}

/// What kind of value a schema takes.
pub(super) fn kind(schema: &Value) -> String {
    if schema.get("$ref").is_some() {
        let name = name_of(&schema["$ref"]);
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    for (word, sign) in [("oneOf", " or "), ("anyOf", " or "), ("allOf", " and ")] {
        if let Some(parts) = schema[word].as_array() {
            return parts.iter().map(kind).collect::<Vec<_>>().join(sign);
        }
    }
    if let Some(values) = schema["enum"].as_array() {
        let values = values.iter().filter_map(Value::as_str);
        return values
            .map(|value| format!("<code>{value}</code>"))
            .collect::<Vec<_>>()
            .join(" or ");
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    let mut html = match &*types {
        [] => "any JSON".to_owned(),
        ["array", ..] => format!("array of {}", kind(&schema["items"])),
        types => types.join(" or "),
    };
    // Widths of integers say nothing to who reads JSON.
    if let Some(format) = schema["format"]
        .as_str()
        .filter(|format| !format.starts_with("int"))
    {
        let _ = write!(html, ", {format}");
    }
    html
}

/// Which values of its kind a schema takes, where that is not all of them.
pub(super) fn bounds(schema: &Value) -> String {
    let words = [
        ("minimum", "from"),
        ("maximum", "to"),
        ("minItems", "at least"),
        ("maxItems", "at most"),
        ("minLength", "at least"),
        ("maxLength", "at most"),
        ("default", "where it is left out:"),
        ("pattern", "like"),
    ];
    let said = words.iter().filter_map(|(key, word)| {
        let value = schema.get(key).filter(|value| value.as_u64() != Some(0))?;
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        Some(format!("{word} <code>{}</code>", escaped(&value)))
    });
    said.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_text() {
        let text = "<b onclick='x'>\"&\"</b> `<i>` **<u>**";
        let html = line(text);
        assert_eq!(
            html,
            "&lt;b onclick=&#39;x&#39;&gt;&quot;&amp;&quot;&lt;/b&gt; <code>&lt;i&gt;</code> <strong>&lt;u&gt;</strong>"
        );
    }
}
