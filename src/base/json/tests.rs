use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::*;
use crate::base::Result;
use crate::base::limits::JSON_ELEMENTS_MAX;

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Queue {
    broker_name: String,
    queue_id: i32,
    topic: Option<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Mixed {
    by_number: BTreeMap<i64, String>,
    by_queue: BTreeMap<Queue, i64>,
    flag: bool,
    list: Vec<i32>,
    rate: f64,
    #[serde(rename = "clientID")]
    id: String,
}

impl Default for Mixed {
    fn default() -> Mixed {
        Mixed {
            by_number: BTreeMap::new(),
            by_queue: BTreeMap::new(),
            flag: true,
            list: Vec::new(),
            rate: 1.5,
            id: String::new(),
        }
    }
}

fn mixed(text: &str) -> Mixed {
    from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn decimals() {
    for value in [0, 7, -1, 10, 1234567890123, i64::MAX, i64::MIN] {
        assert_eq!(decimal(value, &mut [0; 20]), value.to_string());
    }
}

#[test]
fn escapes_are_fastjson_s() {
    let text = "a\"\\/\u{8}\t\n\u{c}\r\u{1}\u{1f}\u{7f}\u{2028}\u{2029}\u{2030}中\u{1F600}";
    let mut out = Vec::new();
    push_escaped(&mut out, text);
    let expected = r#"a\"\\/\b\t\n\f\r\u0001\u001F\u007F\u2028\u2029‰中😀"#;
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    let mut out = Vec::new();
    push_escaped_ascii(&mut out, text);
    let expected = r#"a\"\\\/\b\t\n\f\r\u0001\u001F\u007F\u2028\u2029\u2030\u4E2D\uD83D\uDE00"#;
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn every_kind_of_key_is_read() {
    let text = r#"{"by_number":{0:"a",'1':"b","10":"c"},
        byQueue:{{"brokerName":"b","queueId":3,"topic":"T"}:5,
                 "{\"brokerName\":\"b\",\"queueId\":4}":"6"}}"#;
    let read = mixed(text);
    let numbers: Vec<_> =
        read.by_number.iter().map(|(key, value)| (*key, value.as_str())).collect();
    assert_eq!(numbers, [(0, "a"), (1, "b"), (10, "c")]);
    let queues: Vec<_> = read.by_queue.iter().map(|(key, value)| (key.queue_id, *value)).collect();
    assert_eq!(queues, [(3, 5), (4, 6)]);
    let raw: BTreeMap<String, i64> = from_str(r#"{{"a":1}:2}"#).unwrap();
    assert_eq!(raw["{\"a\":1}"], 2);
}

#[test]
fn types_are_converted_and_nulls_are_absent() {
    let read = mixed(
        r#"{flag:null,"list":["1",2,null,3.0,],rate:"2.5",client_id:77,more:{a:[]},"flag":"x"}"#
            .replace(r#","flag":"x""#, "")
            .as_str(),
    );
    assert!(read.flag);
    assert_eq!((read.list, read.rate, read.id.as_str()), (vec![1, 2, 3], 2.5, "77"));
    assert!(!mixed(r#"{"flag":"FALSE","rate":null}"#).flag);
    assert!(!mixed(r#"{"flag":0}"#).flag);
    // Of several members of one name the first counts.
    assert_eq!(mixed(r#"{"list":[1],"list":[2]}"#).list, [1]);
    assert_eq!(from_str::<Option<i32>>("null").unwrap(), None);
}

#[test]
fn what_is_no_json_is_an_error() {
    for bad in [
        "",
        "{",
        "[]",
        "{\"list\":1}",
        "{\"list\":[1}",
        "{\"flag\":7}",
        "{\"list\":[\"a\"]}",
        "{} {}",
        "{\"list\":[99999999999]}",
        "{\"by_number\":{a:\"b\"}}",
        "{\"by_queue\":{[]:1}}",
    ] {
        assert!(from_str::<Mixed>(bad).is_err(), "{bad}");
    }
}

#[test]
fn depth_is_limited() {
    #[derive(Debug, Deserialize)]
    struct Nested {
        #[allow(dead_code)]
        a: Option<Box<Nested>>,
    }
    let nested = |depth| "{a:".repeat(depth) + "null" + &"}".repeat(depth);
    assert!(from_str::<Nested>(&nested(64)).is_ok());
    for depth in [65, 60_000] {
        let result: Result<Nested> = from_str(&nested(depth));
        assert!(result.unwrap_err().to_string().contains("deep"));
        assert!(from_str::<Mixed>(&format!("{{x:{}", "[".repeat(depth))).is_err());
        assert!(from_str::<BTreeMap<String, i32>>(&"{".repeat(depth)).is_err());
    }
}

#[test]
fn elements_are_limited() {
    let texts = |count| format!("[{}0]", "0,".repeat(count - 1));
    let most = from_str::<Vec<u8>>(&texts(JSON_ELEMENTS_MAX)).unwrap();
    assert_eq!(most.len(), JSON_ELEMENTS_MAX);
    let many = from_str::<Vec<u8>>(&texts(JSON_ELEMENTS_MAX + 1)).unwrap_err();
    assert!(many.to_string().contains("too many elements"), "{many}");
    let half = texts(JSON_ELEMENTS_MAX / 2);
    assert!(from_str::<Vec<Vec<u8>>>(&format!("[{half},{half}]")).is_err(), "of all arrays");
}

fn sample() -> Mixed {
    let queue = Queue { broker_name: "b/中".to_string(), queue_id: 3, topic: None };
    Mixed {
        by_number: BTreeMap::from([(0, "a".to_string()), (10, "b".to_string())]),
        by_queue: BTreeMap::from([(queue, i64::MAX)]),
        list: vec![1, 2],
        ..Mixed::default()
    }
}

#[test]
fn the_three_forms() {
    let compact = concat!(
        r#"{"by_number":{0:"a",10:"b"},"by_queue":{{"brokerName":"b/中","queueId":3}:"#,
        r#"9223372036854775807},"flag":true,"list":[1,2],"rate":1.5,"clientID":""}"#
    );
    assert_eq!(to_string(&sample()), compact);
    assert_eq!(mixed(compact), sample());
    let strict = String::from_utf8(to_vec_strict(&sample())).unwrap();
    assert!(strict.starts_with(r#"{"by_number":{"0":"a","10":"b"},"#));
    assert!(strict.contains(r#"{"brokerName":"b\/\u4E2D","queueId":3}:"9223372036854775807""#));
}

#[test]
fn files_are_pretty_as_java_s() {
    let offsets: BTreeMap<&str, BTreeMap<&str, BTreeMap<i32, i64>>> = BTreeMap::from([(
        "offsetTable",
        BTreeMap::from([
            ("%RETRY%CG1@CG1", BTreeMap::from([(0, 1)])),
            ("TopicA@CG1", BTreeMap::from([(0, 1), (1, 1), (2, 3), (3, 2)])),
            ("z", BTreeMap::new()),
        ]),
    )]);
    let expected = "{\n\t\"offsetTable\":{\n\t\t\"%RETRY%CG1@CG1\":{0:1\n\t\t},\n\
        \t\t\"TopicA@CG1\":{0:1,1:1,2:3,3:2\n\t\t},\n\t\t\"z\":{}\n\t}\n}";
    assert_eq!(to_pretty(&offsets), expected);
    let queue = Queue { broker_name: "b".to_string(), queue_id: 3, topic: None };
    assert_eq!(to_pretty(&queue), "{\n\t\"brokerName\":\"b\",\n\t\"queueId\":3\n}");
    let lists = BTreeMap::from([("a", vec![BTreeMap::from([(0, 1)])]), ("b", Vec::new())]);
    assert_eq!(to_pretty(&lists), "{\n\t\"a\":[\n\t\t{0:1\n\t\t}\n\t],\n\t\"b\":[]\n}");
    assert_eq!(to_pretty(&[1, 2]), "[1,2]", "an array of Java's");
}

#[test]
fn doubles_are_java_s() {
    let cases = [
        (0.0, "0.0"),
        (1.5, "1.5"),
        (1e10, "1.0E10"),
        (1e-4, "1.0E-4"),
        (-2.5e-7, "-2.5E-7"),
        (9999999.0, "9999999.0"),
        (1e7, "1.0E7"),
        (0.001, "0.001"),
        (f64::NAN, "null"),
    ];
    for (value, expected) in cases {
        assert_eq!(to_string(&value), expected);
    }
}

proptest::proptest! {
    #[test]
    fn garbage_never_panics(text in "[{}\\[\\]:,\"'a-f\\\\/*u0-9 \n.-]{0,60}") {
        let _ = from_str::<Mixed>(&text);
        let _ = from_str::<Mixed>(&format!("{{{text}"));
        let _ = from_str::<serde_json::Value>(&format!("[{text}"));
    }

    #[test]
    fn texts_round_trip(text in "\\PC{0,30}|[\\x00-\\x7f]{0,30}") {
        proptest::prop_assert_eq!(&from_slice::<String>(&to_vec(&text)).unwrap(), &text);
        proptest::prop_assert_eq!(&from_slice::<String>(&to_vec_strict(&text)).unwrap(), &text);
    }
}
