use campanile_edge::Head;

use super::*;

#[test]
fn a_refusal_is_a_whole_response_that_ends_the_connection() {
    assert_eq!(
        &Refusal::no_broker().response(None)[..],
        b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n\
          Content-Type: text/plain; charset=utf-8\r\nContent-Length: 66\r\n\r\n\
          this gateway has no link to its broker: try again, or try another\n"
    );
    assert_eq!(
        &Refusal::come_back(5000).response(None)[..],
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n\
          Cache-Control: no-store\r\nContent-Length: 13\r\n\r\nretry: 5000\n\n"
    );
    assert_eq!(
        &Refusal::bad("no").for_method("HEAD").response(None)[..],
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\
          Content-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n\r\n"
    );
}

#[test]
fn each_error_has_a_status_a_code_and_a_sentence() {
    let evil = || "evil.example".to_owned();
    let no_http = Head::parse(b"\0").expect_err("not HTTP");
    let cases: [(Refusal, u16, &str, &str); 6] = [
        (HeadError::TooLarge.into(), 431, "large_head", "16 KiB or 64 lines"),
        (no_http.into(), 400, "bad_request", "not an HTTP/1 request"),
        (
            HandshakeError::Method { method: "PUT".to_owned() }.into(),
            405,
            "method_not_allowed",
            "method PUT: a websocket opens with GET",
        ),
        (HandshakeError::Version.into(), 426, "websocket_version", "must be 13"),
        (
            NotAllowed::Host { hosts: vec![evil()] }.into(),
            403,
            "host_not_allowed",
            "host \"evil.example\" is not allowed: accepted are loopback names such as localhost \
             and 127.0.0.1, and those of the gateway's --allow-host",
        ),
        (
            NotAllowed::Origin { origin: evil() }.into(),
            403,
            "origin_not_allowed",
            "origin \"evil.example\" is not allowed: accepted are those of the gateway's \
             --allow-origin",
        ),
    ];
    for (refusal, status, code, part) in cases {
        assert_eq!((refusal.status, refusal.code), (status, code));
        assert!(refusal.sentence().contains(part), "{}", refusal.sentence());
    }
}
