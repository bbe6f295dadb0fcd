use proptest::collection;
use proptest::prelude::*;

use super::*;
use crate::protocol::Fields;
use crate::protocol::command::{LANGUAGE_OTHER, VERSION};
use crate::protocol::headers::send::{SendMessage, SendMessageReply};

fn json_frame(header: &str, body: &[u8]) -> Vec<u8> {
    let mut frame = ((4 + header.len() + body.len()) as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&(header.len() as u32).to_be_bytes());
    frame.extend_from_slice(header.as_bytes());
    frame.extend_from_slice(body);
    frame
}

fn read(header: &str) -> Command {
    let frame = json_frame(header, b"");
    let read = decode(&frame).unwrap_or_else(|error| panic!("{header}: {error}"));
    same_head(&frame, &read);
    read
}

/// What a refusal needs is read alike without the rest.
fn same_head(frame: &[u8], whole: &Command) {
    let head = decode_head(frame).unwrap();
    let of = |command: &Command| {
        (command.code, command.opaque, command.flag, command.version, command.codec)
    };
    assert_eq!(of(&head), of(whole));
    assert!(head.fields.is_none() && head.body.is_empty());
}

fn fails(header: &str) {
    let result = decode(&json_frame(header, b""));
    assert!(matches!(result, Err(Error::Protocol(_))), "{header}");
}

#[test]
fn json_is_written_as_java_writes_it() {
    let mut request = Command { code: 105, version: VERSION, ..Command::default() };
    request.fields_mut().push("topic", "T");
    let tail = r#""serializeTypeCurrentRPC":"JSON","version":409}"#;
    let header = r#"{"code":105,"extFields":{"topic":"T"},"flag":0,"language":"JAVA","opaque":0,"#;
    assert_eq!(encode(&request), json_frame(&[header, tail].concat(), b""));

    let mut reply = Command { opaque: 77, ..Command::default() }.reply(0);
    let header = r#"{"code":0,"flag":1,"language":"JAVA","opaque":77,"#;
    assert_eq!(encode(&reply), json_frame(&[header, tail].concat(), b""));

    reply.fields_mut();
    reply.remark = Some("a\"b".to_string());
    reply.body = b"body".to_vec();
    let header =
        r#"{"code":0,"extFields":{},"flag":1,"language":"JAVA","opaque":77,"remark":"a\"b","#;
    assert_eq!(encode(&reply), json_frame(&[header, tail].concat(), b"body"));
}

#[test]
fn binary_is_written_as_java_writes_it() {
    let frame = b"\0\0\0\x24\x01\0\0\x20\x01\x36\0\x01\x99\x01\x02\x03\x04\0\0\0\0\0\0\0\x02hi\
        \0\0\0\x09\0\x01a\0\0\0\x02pg";
    let mut command = Command {
        code: 310,
        version: VERSION,
        opaque: 0x01020304,
        remark: Some("hi".to_string()),
        codec: Codec::Binary,
        ..Command::default()
    };
    command.fields_mut().push("a", "pg");
    command.fields_mut().push("empty", "");
    assert_eq!(encode(&command), frame);
    assert_eq!(cut(frame).unwrap(), Some(frame.len()));
    let read = decode(frame).unwrap();
    assert_eq!((read.code, read.version, read.opaque, read.flag), (310, 409, 0x01020304, 0));
    assert_eq!((read.remark.as_deref(), read.field("a")), (Some("hi"), Some("pg")));
    assert_eq!((read.codec, read.field("empty")), (Codec::Binary, None));
}

#[test]
fn binary_without_room_for_the_code_becomes_json() {
    let command = Command { code: 200_050, codec: Codec::Binary, ..Command::default() };
    let frame = encode(&command);
    assert_eq!(frame[4], 0);
    assert_eq!(decode(&frame).unwrap().code, 200_050);
}

#[test]
fn frames_are_cut_at_their_length() {
    let mut two = json_frame("{}", b"ab");
    let len = two.len();
    two.extend_from_slice(&json_frame("{}", b""));
    assert_eq!(cut(&two).unwrap(), Some(len));
    for end in 0..len {
        assert_eq!(cut(&two[..end]).unwrap(), None);
    }
    assert_eq!(decode(&two[..len]).unwrap().body, b"ab");
    let largest = (FRAME_BYTES_MAX as u32 - 4).to_be_bytes();
    assert_eq!(cut(&largest).unwrap(), None);
    for bad in [-1, 0, 3, FRAME_BYTES_MAX as i32 - 3, i32::MAX, i32::MIN] {
        assert!(cut(&bad.to_be_bytes()).is_err(), "{bad}");
    }
    for bad in [&b"\0\0\0\x06\0\0\0\x03"[..], b"\0\0\0\x04\x02\0\0\0", b"\0\0\0\x06\0\x01\0\0"] {
        assert!(cut(bad).is_err() && decode(bad).is_err());
    }
    assert!(decode(b"\0\0").is_err());
}

#[test]
fn json_members_may_miss_be_null_or_unknown() {
    let command = read("{}");
    assert_eq!((command.code, command.flag, command.language, command.version), (0, 0, 0, 0));
    assert!(command.fields.is_none() && command.remark.is_none());
    let command = read(concat!(
        r#"{"zzz":[1,{"a":2}],"code":"34","language":null,"#,
        r#""remark":null,"extFields":null,"serializeTypeCurrentRPC":null,"version":null,"#,
        r#""opaque":-5,"flag":1.0}"#
    ));
    assert_eq!((command.code, command.opaque, command.flag, command.version), (34, -5, 1, 0));
    assert!(command.fields.is_none() && command.remark.is_none());
    assert_eq!(read(r#"{"extFields":{}}"#).fields, Some(Fields::new()));
    assert_eq!(read(r#"{"ext_fields":{"a":"b"},"CODE":3}"#).field("a"), Some("b"));
    assert_eq!(read(r#"{"serializeTypeCurrentRPC":"XML","remark":12}"#).remark.unwrap(), "12");
}

#[test]
fn memory_used_again_is_empty() {
    let long = r#"{"code":1,"extFields":{"a":"\u4e2d b","c":"d","e":"f"},"remark":"r"}"#;
    let mut binary = Command { codec: Codec::Binary, ..Command::default() };
    binary.fields_mut().push("a", "\u{4e2d} b");
    let frames = [
        json_frame(long, b"a long body"),
        json_frame(r#"{"extFields":{"g":"h"}}"#, b"body"),
        json_frame(r#"{"extFields":{}}"#, b""),
        json_frame(r#"{"code":2}"#, b"b"),
        encode(&binary),
    ];
    let fresh: Vec<_> = frames.iter().map(|frame| decode(frame).unwrap()).collect();
    let pairs = frames.iter().zip(&fresh);
    for ((first, _), (second, expected)) in
        pairs.clone().flat_map(|a| pairs.clone().map(move |b| (a, b)))
    {
        decode(first).unwrap().reuse();
        let again = decode(second).unwrap();
        assert_eq!((&again.fields, &again.body), (&expected.fields, &expected.body));
        assert_eq!(encode(&again), encode(expected));
        decode(first).unwrap().reuse();
        let mut reply = again.reply(0);
        reply.fields_mut().push("x", "y");
        assert_eq!(reply.fields.as_ref().unwrap().iter().collect::<Vec<_>>(), [("x", "y")]);
        again.reuse();
        reply.reuse();
    }
}

#[test]
fn ext_values_of_any_type_become_text() {
    let command = read(concat!(
        r#"{"extFields":{"i":1,"d":3.50,"t":true,"f":false,"n":null,"#,
        r#""o":{"a":[1,2]},"e":"","u":"\u4e2d\n","i":2}}"#
    ));
    let fields = command.fields.as_ref().unwrap();
    assert_eq!(fields.len(), 8);
    let expected = [("i", Some("2")), ("d", Some("3.50")), ("t", Some("true")), ("n", None)];
    for (name, value) in expected {
        assert_eq!(command.field(name), value, "{name}");
    }
    assert_eq!(command.field("f"), Some("false"));
    assert_eq!(command.field("o"), Some(r#"{"a":[1,2]}"#));
    assert_eq!(command.field("e"), Some(""));
    assert_eq!(command.field("u"), Some("中\n"));
}

#[test]
fn json_syntax_is_lenient() {
    let command = read(
        "/* c */ {code:'10',, \"extFields\":{ 'a' : \"b\", c:'d\"', },\n// x\n flag:2,}\n\0"
            .trim_end_matches('\0'),
    );
    assert_eq!((command.code, command.flag), (10, 2));
    assert_eq!((command.field("a"), command.field("c")), (Some("b"), Some("d\"")));
}

#[test]
fn languages_by_name_or_number() {
    for (json, code) in
        [("\"GO\"", 9), ("\"cpp\"", 1), ("\"COBOL\"", LANGUAGE_OTHER), ("12", 12), ("\"RUST\"", 12)]
    {
        assert_eq!(read(&format!("{{\"language\":{json}}}")).language, code, "{json}");
    }
    fails(r#"{"language":99}"#);
    fails(r#"{"language":-1}"#);
}

#[test]
fn what_java_closes_on_is_an_error() {
    for bad in [
        "",
        "x",
        "[]",
        "{",
        "{\"code\":",
        "{\"code\":1",
        "{\"code\"}",
        "{\"code\":1}}",
        "{} x",
        "{\"code\":\"a\"}",
        "{\"code\":99999999999}",
        "{\"code\":[1]}",
        "{\"extFields\":[]}",
        "{\"extFields\":\"a\"}",
        "{\"extFields\":{\"a\":}}",
        "{\"remark\":\"\\q\"}",
        "{\"a\":1]",
        "{\"extFields\":{\"a\":\"b",
        "{,",
        "{:1}",
        "{\"a\":{]}",
    ] {
        fails(bad);
    }
    for depth in [100, 60_000] {
        fails(&format!("{{\"extFields\":{{\"a\":{}", "{\"a\":".repeat(depth)));
        fails(&format!("{{\"a\":{}", "[".repeat(depth)));
    }
}

#[test]
fn text_that_is_not_utf8_is_replaced() {
    let mut frame = json_frame(r#"{"extFields":{"a":"xx"}}"#, b"");
    let at = frame.len() - 5;
    frame[at] = 0xC4;
    assert_eq!(decode(&frame).unwrap().field("a"), Some("\u{fffd}x"));
}

#[test]
fn a_header_of_4_mb_is_read() {
    let value = "v".repeat(4 * 1024 * 1024);
    let command = read(&format!(r#"{{"code":10,"extFields":{{"properties":"{value}"}}}}"#));
    assert_eq!(command.field("properties").unwrap().len(), value.len());
}

#[test]
fn send_headers_in_both_name_forms() {
    let header = SendMessage {
        producer_group: "pg",
        topic: "T",
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: -1,
        sys_flag: 1,
        born_timestamp: 1_700_000_000_000,
        flag: 0,
        properties: Some("k\u{1}v\u{2}"),
        reconsume_times: None,
        unit_mode: false,
        max_reconsume_times: Some(3),
        batch: true,
        broker_name: Some("broker-a"),
    };
    for codec in [Codec::Json, Codec::Binary] {
        let mut long = Command { codec, ..Command::request(10) };
        header.encode(&mut long);
        let mut short = Command { codec, ..Command::request(310) };
        header.encode_short(&mut short);
        assert_eq!((long.field("topic"), short.field("b")), (Some("T"), Some("T")));
        assert_eq!((long.field("bname"), short.field("n")), (Some("broker-a"), Some("broker-a")));
        for command in [long, short] {
            let read = decode(&encode(&command)).unwrap();
            assert_eq!(SendMessage::decode(&read).unwrap(), header);
        }
    }
}

#[test]
fn missing_and_broken_fields_are_refused_by_name() {
    let remark = |header: &str| match SendMessageReply::decode(&read(header)) {
        Err(Error::Refused { code: 1, remark }) => remark,
        other => panic!("{other:?}"),
    };
    assert!(remark("{}").contains("msgId"));
    assert!(
        remark(r#"{"extFields":{"msgId":"a","queueId":"x","queueOffset":"1"}}"#)
            .contains("queueId")
    );
    assert!(
        remark(r#"{"extFields":{"msgId":"a","queueId":" 1","queueOffset":1}}"#).contains("queueId")
    );
    let fields = r#"{"extFields":{"msgId":"a","queueId":2,"queueOffset":"1","more":7}}"#;
    let reply = read(fields);
    let reply = SendMessageReply::decode(&reply).unwrap();
    assert_eq!((reply.msg_id, reply.queue_id, reply.queue_offset), ("a", 2, 1));
    assert_eq!(reply.transaction_id, None);
}

proptest! {
    #[test]
    fn round_trip(
        code: i16,
        opaque: i32,
        flag: i32,
        remark in "\\PC{1,20}|[\\x00-\\x7f]{1,9}",
        pairs in collection::vec(("\\PC{1,9}", "\\PC{1,30}|[\\x00-\\x7f]{1,9}"), 1..9),
        body in collection::vec(any::<u8>(), 0..99),
        binary: bool,
    ) {
        let codec = if binary { Codec::Binary } else { Codec::Json };
        let code = i32::from(code);
        let mut command = Command { code, opaque, flag, codec, body, ..Command::default() };
        command.remark = Some(remark);
        for (name, value) in &pairs {
            command.fields_mut().push(name, value);
        }
        let frame = encode(&command);
        prop_assert_eq!(cut(&frame).unwrap(), Some(frame.len()));
        let read = decode(&frame).unwrap();
        same_head(&frame, &read);
        prop_assert_eq!((read.code, read.opaque, read.flag, &read.remark),
                        (command.code, opaque, flag, &command.remark));
        prop_assert_eq!(read.fields, command.fields);
        prop_assert_eq!(read.body, command.body);
    }

    #[test]
    fn mutations_never_panic(
        at in 0..200_usize,
        bytes in collection::vec(any::<u8>(), 1..4),
        cut_at in 0..200_usize,
        binary: bool,
    ) {
        let codec = if binary { Codec::Binary } else { Codec::Json };
        let body = b"body".to_vec();
        let mut command = Command { code: 310, codec, body, ..Command::default() };
        command.remark = Some("x\n\u{1F600}".to_string());
        command.fields_mut().push("a", "pg");
        command.fields_mut().push("queueId", "中");
        let mut frame = encode(&command);
        for (index, byte) in bytes.into_iter().enumerate() {
            let at = (at + index) % frame.len();
            frame[at] = byte;
        }
        frame.truncate(cut_at.max(8));
        let _ = cut(&frame);
        if let Ok(command) = decode(&frame) {
            same_head(&frame, &command);
            let _ = SendMessage::decode(&command);
        }
    }

    #[test]
    fn garbage_never_panics(header in "[{}\\[\\]:,\"'a\\\\/*u0-9 \n.-]{0,60}") {
        for header in [format!("{{{header}"), format!("{{\"extFields\":{{{header}")] {
            let frame = json_frame(&header, b"");
            if let Ok(command) = decode(&frame) {
                same_head(&frame, &command);
            }
        }
    }
}
