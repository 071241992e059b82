use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Serialize;
use serde_json::json;

use super::*;
use crate::event::to_value;

fn text(kind: &str, event: &(impl Serialize + ?Sized)) -> String {
    Flatten::default().text(kind, &to_value(event).expect("serializable"))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payment {
    user_name: &'static str,
    amount: f64,
    state: State,
    method: Method,
    note: Option<&'static str>,
    receipt: Option<Receipt>,
    tags: Vec<&'static str>,
    counts: Vec<u32>,
    signature: Bytes,
}

#[derive(Serialize)]
enum State {
    InProgress,
}

#[derive(Serialize)]
enum Method {
    CreditCard { issuer: &'static str },
}

#[derive(Serialize)]
struct Receipt {
    #[serde(rename = "receiptURL")]
    url: &'static str,
}

struct Bytes(&'static [u8]);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

fn payment() -> Payment {
    Payment {
        user_name: "alice",
        amount: 12.5,
        state: State::InProgress,
        method: Method::CreditCard { issuer: "visa" },
        note: None,
        receipt: Some(Receipt {
            url: "https://pay.example/r",
        }),
        tags: vec!["new", "vip"],
        counts: vec![1, 2, 3],
        signature: Bytes(&[1, 2, 3]),
    }
}

#[test]
fn fields_are_in_their_order_and_names_are_split() {
    assert_eq!(
        text("shop.paymentStarted", &payment()),
        "shop payment started: user name alice, amount number, state in progress, \
         method credit card issuer visa, receipt receipt url https://pay.example/r, \
         tags new vip, counts number, signature bytes"
    );
}

#[test]
fn events_that_differ_in_ids_and_numbers_have_equal_text() {
    let order = |id: &str, trace: &str, at: &str, number: u64| {
        json!({"order": id, "traceId": trace, "at": at, "total": number,
               "message": format!("order {id} placed at {at}")})
    };
    let a = order(
        "550e8400-e29b-41d4-a716-446655440000",
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "2026-03-01T10:00:00Z",
        1,
    );
    let b = order(
        "7d444840-9dc0-11d1-b245-5ffdce74fad2",
        "00f067aa0ba902b74bf92f3577b34da6",
        "2025-12-24T23:59:59.123+01:00",
        99_000,
    );
    assert_eq!(text("order.placed", &a), text("order.placed", &b));
    assert_eq!(
        text("order.placed", &a),
        "order placed: at time, message order id placed at time, order id, total number, trace id id"
    );
}

#[test]
fn event_without_fields_is_its_kind() {
    for event in [
        json!(null),
        json!({}),
        json!([]),
        json!({"a": null, "b": []}),
    ] {
        assert_eq!(text("task.timed_out", &event), "task timed out");
    }
    assert_eq!(text("note", "Call mum"), "note: Call mum");
    assert_eq!(text("", &json!({})), "");
}

#[test]
fn keys_of_maps_are_toned_down() {
    let by_id = BTreeMap::from([(7_u32, "on"), (9, "off")]);
    assert_eq!(text("k", &by_id), "k: number on, number off");
    let by_name = json!({"user-550e8400-e29b-41d4-a716-446655440000": true});
    assert_eq!(text("k", &by_name), "k: user id true");
}

#[test]
fn binary_uuid_and_timestamp_are_placeholders() {
    let event = Value::Map(vec![
        ("a".into(), Value::Binary(vec![7; 16])),
        ("b".into(), Value::Ext(-1, vec![0; 4])),
        ("c".into(), Value::Ext(5, vec![0; 4])),
    ]);
    assert_eq!(
        Flatten::default().text("k", &event),
        "k: a id, b time, c bytes"
    );
}

#[test]
fn depth_items_and_length_are_bounded() {
    let flatten = Flatten::new(Config {
        depth_max: 2,
        items_max: 2,
        value_bytes_max: 5,
        text_bytes_max: 20,
    });
    let text = |event| flatten.text("k", &to_value(&event).expect("json"));
    assert_eq!(text(json!({"a": {"b": "x", "c": {"d": "y"}}})), "k: a b x");
    assert_eq!(text(json!(["x", "y", "z"])), "k: x y");
    assert_eq!(text(json!("abcdefgh")), "k: abcde");
    // é has two bytes, of which one would be the sixth.
    assert_eq!(text(json!("abcdé")), "k: abcd");
    let long = text(json!(["aaaaa bb", "ccccc", "ddddd"]));
    assert_eq!(long, "k: aaaaa ccccc");
    let fields = text(json!({"aaaa": "é é", "bbbb": "é é", "cccc": "x"}));
    assert!(
        fields.len() <= 20 && fields.starts_with("k: aaaa é é, bbbb"),
        "{fields}"
    );
}

proptest! {
    #[test]
    fn any_tree_gives_bounded_text(
        kind in ".{0,300}",
        strings in prop::collection::vec(".{0,3000}", 0..6),
        bytes in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let config = Config::default();
        let mut event = Value::from(strings.iter().map(|s| Value::from(s.as_str())).collect::<Vec<_>>());
        for string in &strings {
            event = Value::Map(vec![
                (Value::from(string.as_str()), event),
                (Value::Binary(bytes.clone()), Value::Binary(bytes.clone())),
            ]);
        }
        let text = Flatten::default().text(&kind, &event);
        prop_assert!(text.len() <= config.text_bytes_max);
        if let Ok(event) = rmpv::decode::read_value(&mut bytes.as_slice()) {
            prop_assert!(Flatten::default().text(&kind, &event).len() <= config.text_bytes_max);
        }
    }
}
