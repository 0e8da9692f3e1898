//! Schemas that hold what they describe to every word: what is not described is not there.

use jsonschema::Validator;
use serde_json::{Value, json};

/// A validator of what stands at a place of a document, for example `/components/schemas/Problem`.
pub(crate) fn schema(document: &Value, place: &str) -> Validator {
    assert!(document.pointer(place).is_some(), "there is no {place}");
    let mut root = document.clone();
    tighten(&mut root);
    // A reference is a URI (RFC 6901, section 6).
    let fragment = place.replace('{', "%7B").replace('}', "%7D");
    root["$ref"] = json!(format!("#{fragment}"));
    jsonschema::options()
        .should_validate_formats(true)
        .build(&root)
        .unwrap_or_else(|error| panic!("{place}: {error}"))
}

/// Refuses properties that no schema names. Descriptions leave them open, for what is added later.
fn tighten(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let is_object = fields.contains_key("properties") && fields.contains_key("type");
            let is_open = !fields.contains_key("additionalProperties");
            for (name, value) in &mut *fields {
                // Examples are no schemas.
                if name != "examples" && name != "example" {
                    tighten(value);
                }
            }
            if let Some(Value::Array(parts)) = fields.get_mut("allOf") {
                // Each part sees properties of the others.
                for part in parts.iter_mut().filter_map(Value::as_object_mut) {
                    part.remove("unevaluatedProperties");
                }
            }
            if is_object && is_open {
                fields.insert("unevaluatedProperties".into(), json!(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(tighten),
        _ => {}
    }
}

/// Fails unless a value is as it is described.
#[track_caller]
pub(crate) fn is_as_described(what: &str, value: &Value, schema: &Validator) {
    let wrong: Vec<String> = schema
        .iter_errors(value)
        .map(|error| format!("at {:?}: {error}", error.instance_path().to_string()))
        .collect();
    assert!(
        wrong.is_empty(),
        "{what} is not as it is described:\n{value:#}\n{}",
        wrong.join("\n")
    );
}
