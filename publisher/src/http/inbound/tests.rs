use proptest::prelude::*;
use tokio_util::codec::Decoder as _;

use super::*;

/// Feeds the pieces, and answers each request as soon as it is complete. Returns what was passed on, one
/// string per request, and the errors.
fn exchange(pieces: &[&[u8]]) -> (Vec<String>, Vec<String>) {
    let mut inbound = Inbound::default();
    let (mut requests, mut errors) = (Vec::new(), Vec::new());
    let mut current = Vec::new();
    for piece in pieces {
        inbound.receive(piece, &mut current);
        loop {
            errors.extend(inbound.take_refusal().map(|error| error.to_string()));
            errors.extend(inbound.take_broken().map(|error| error.to_string()));
            if !matches!(inbound.state, Reading::Answering) {
                break;
            }
            requests.push(String::from_utf8_lossy(&std::mem::take(&mut current)).into_owned());
            inbound.answered(&mut current);
        }
    }
    if !current.is_empty() {
        requests.push(String::from_utf8_lossy(&current).into_owned());
    }
    (requests, errors)
}

fn requests(input: &str) -> Vec<String> {
    exchange(&[input.as_bytes()]).0
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")
}

fn passed_on(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\n\r\n")
}

#[test]
fn a_request_means_the_same_after_any_other() {
    let typed = get("/?content={안}");
    let meant = passed_on("/?content=%7B%EC%95%88%7D");
    let post = "POST / HTTP/1.1\r\nHost: h\r\n";
    for before in [
        "\r\n\n".to_owned(),
        get("/"),
        format!("{post}\r\n"),
        format!("{post}Content-Length: 0\r\n\r\n"),
        format!("{post}Content-Length: 4\r\n\r\nGET "),
        format!("{post}Transfer-Encoding: chunked\r\n\r\n9\r\nGET /é H\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding: chunked\r\n\r\n1;a\r\n\n\r\n0\r\nGET: é\r\n\r\n"),
        "GET / HTTP/1.0\nConnection: keep-alive\n\n".to_owned(),
        format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(200_000)),
    ] {
        let read = requests(&format!("{before}{typed}"));
        assert_eq!(read.last(), Some(&meant), "{:.200}", before);
        assert!(read.len() <= 2);
    }
}

#[test]
fn a_request_is_held_back_until_the_one_before_is_answered() {
    let mut inbound = Inbound::default();
    let mut output = Vec::new();
    inbound.receive(get("/1").repeat(3).as_bytes(), &mut output);
    assert_eq!(output, passed_on("/1").as_bytes());
    assert!(inbound.has_waiting());
    inbound.answered(&mut output);
    assert_eq!(output, passed_on("/1").repeat(2).as_bytes());
    // Half a body does not let the next request through.
    let mut inbound = Inbound::default();
    inbound.receive(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na", &mut output);
    output.clear();
    inbound.answered(&mut output);
    inbound.receive(b"bGET / HTTP/1.1\r\nHost: h\r\n\r\n", &mut output);
    assert_eq!(output, b"b");
}

#[test]
fn nothing_behind_a_close_or_a_refusal_is_passed_on() {
    for last in [
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".to_owned(),
        "GET / HTTP/1.0\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 1\r\n\r\na".to_owned(),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "GET / HTTP/2.0\r\nHost: h\r\n\r\n".to_owned(),
        "\x16\x03\x01\x02".to_owned(),
        "GET\t/ HTTP/1.1\r\n".to_owned(),
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n".to_owned(),
    ] {
        let read = requests(&format!("{last}{}", get("/behind")));
        assert_eq!(read.len(), 1, "{last}: {read:?}");
        assert!(
            read[0].contains("\r\nConnection: close\r\n") || last.contains("chunked"),
            "{read:?}"
        );
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_a_sentence() {
    let head = |rest: &str| format!("GET / HTTP/1.1\r\nHost: h\r\n{rest}");
    for (input, said) in [
        (
            "\x16\x03\x01\x02".to_owned(),
            "the request is not HTTP/1: its first line is not a method, a URL and a version; plain",
        ),
        ("GETGETGETGETGETGETGETGETGETGETGETGET".to_owned(), "the request is not HTTP/1"),
        (format!("GET / {}", "H".repeat(40)), "the request is not HTTP/1"),
        (
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\n\r\n".to_owned(),
            "a PROXY header is where a request should be",
        ),
        ("PROXY UNKNOWN\r\n".to_owned(), "a PROXY header is where a request should be"),
        ("\r\n\r\n\0\r\nQUIT\n!".to_owned(), "a PROXY header is where a request should be"),
        ("\0\r\nQUIET\n".to_owned(), "the request is not HTTP/1"),
        ("PRI * HTTP/2.0\r\n\r\n".to_owned(), "the request is not HTTP/1"),
        ("GET /\r\n\r\n".to_owned(), "the request is not HTTP/1"),
        ("GET / a HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), "the request is not HTTP/1"),
        (head("A: b\r\n c\r\n\r\n"), "the request is not HTTP/1"),
        (
            head(&"A: b\r\n".repeat(20_000)),
            "the request has too many or too large headers: at most 96 headers",
        ),
        (
            head(&format!("{}\r\n", "A: b\r\n".repeat(97))),
            "the request has too many or too large headers: at most 96 headers",
        ),
        (get("ftp://h/"), "the URL is \"ftp://h/\""),
        (get(&format!("/{}", "a".repeat(70_000))), "the URL is too long"),
        (get(&format!("/{}", "é".repeat(15 << 10))), "the URL is too long"),
    ] {
        let (_, errors) = exchange(&[input.as_bytes()]);
        assert_eq!(errors.len(), 1, "{input:.100}: {errors:?}");
        assert!(errors[0].starts_with(said), "{input:.100}: {errors:?}");
    }
}

#[test]
fn a_target_without_an_end_is_dropped_up_to_a_bound() {
    let refused = "the URL is too long";
    for (len, goes_on) in [(MAX_DROPPED_BYTES, true), (MAX_DROPPED_BYTES + 1, false)] {
        // The slash counts as the first byte.
        let input = get(&format!("/{}", "a".repeat(len - 1))) + &get("/behind");
        let (read, errors) = exchange(&[input.as_bytes()]);
        assert_eq!(read.len(), if goes_on { 2 } else { 1 }, "{len}");
        assert!(errors[0].starts_with(refused), "{errors:?}");
        let pieces: Vec<_> = input.as_bytes().chunks(2_000).collect();
        assert_eq!(exchange(&pieces), (read, errors));
    }
    let mut inbound = Inbound::default();
    let mut output = Vec::new();
    inbound.receive(b"HEAD /", &mut output);
    for _ in 0..=MAX_DROPPED_BYTES / 10_000 + 1 {
        inbound.receive(&[b'a'; 10_000], &mut output);
    }
    assert!(inbound.is_over() && output.starts_with(b"HEAD "));
}

#[test]
fn no_callers_target_is_the_replacement() {
    let read = requests(&get(REFUSED));
    assert_eq!(read, [passed_on("/%7C")]);
    assert!(exchange(&[get(REFUSED).as_bytes()]).1.is_empty());
}

#[test]
fn an_idle_connection_keeps_no_memory() {
    let mut inbound = Inbound::default();
    let mut output = Vec::new();
    inbound.receive(&[get("/").as_bytes(), get("/").as_bytes()].concat(), &mut output);
    inbound.answered(&mut output);
    inbound.answered(&mut output);
    assert_eq!(inbound.raw.capacity(), 0);
    inbound.receive(b"GET /", &mut output);
    inbound.receive(&[b'a'; MAX_TARGET_BYTES + 1], &mut output);
    assert!(inbound.raw.len() < MAX_METHOD_BYTES);
}

/// Lets actix-http read what was passed on as one request, and returns what is left.
fn read_by_actix(request: &[u8]) -> Result<usize, String> {
    // It starts a timer, which is not needed here.
    let tasks = tokio::task::LocalSet::new();
    let _entered = tasks.enter();
    let mut codec = actix_http::h1::Codec::default();
    let mut bytes = bytes::BytesMut::from(request);
    let read = codec.decode(&mut bytes).map_err(|error| error.to_string())?;
    read.ok_or("its head is not complete")?;
    while codec.message_type() != actix_http::h1::MessageType::None {
        match codec.decode(&mut bytes).map_err(|error| error.to_string())? {
            Some(actix_http::h1::Message::Chunk(None)) => break,
            Some(_) => {}
            None => return Err("its body is not complete".to_owned()),
        }
    }
    Ok(bytes.len())
}

fn pieces(bytes: &[u8], mut cuts: Vec<usize>) -> Vec<&[u8]> {
    cuts.extend([0, bytes.len()]);
    cuts.iter_mut().for_each(|cut| *cut = bytes.len().min(*cut));
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn where_a_long_target_is_cut_makes_no_difference(
        over in 0..6usize,
        cuts in prop::collection::vec(0..MAX_TARGET_BYTES + 40, 0..6),
    ) {
        let input = get(&format!("/{}", "a".repeat(MAX_TARGET_BYTES - 4 + over))) + &get("/é");
        let bytes = input.as_bytes();
        prop_assert_eq!(exchange(&pieces(bytes, cuts)), exchange(&[bytes]));
    }

    #[test]
    fn where_the_bytes_are_cut_makes_no_difference(
        input in "((\r?\n)?[GP] /[?é\" ]{0,3} HTTP/1\\.[01]\r?\n(Host: é\r?\n|content-length: [012]\r?\n|transfer-encoding: chunked\r\n|connection: (close|keep-alive)\r\n|upgrade: websocket\r\n){0,3}\r?\n(a|1\r\na\r\n0\r\n\r\n)?){0,4}",
        cuts in prop::collection::vec(0usize..200, 0..6),
    ) {
        let bytes = input.as_bytes();
        prop_assert_eq!(exchange(&pieces(bytes, cuts)), exchange(&[bytes]));
    }

    #[test]
    fn no_bytes_panic_and_what_is_held_is_bounded(
        input in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..6),
    ) {
        let mut inbound = Inbound::default();
        let mut output = Vec::new();
        for piece in &input {
            inbound.receive(piece, &mut output);
            inbound.answered(&mut output);
        }
    }

    #[test]
    fn actix_reads_each_request_that_is_passed_on_to_the_same_end(
        input in "((\r?\n)?(GET|POST|HEAD|P|OPTIONS) (/|HTTP://h/?|\\*)[?é\"|]{0,3} HTTP/1\\.[012]\r?\n((Host: é|Host: h|content-length: *[0-3+]{1,2}|transfer-encoding: *(chunked|identity|gzip, chunked)|connection: (close|keep-alive, upgrade)|upgrade: (websocket|h2c)|expect: 100-continue|\t|:|A: \r)\r?\n){0,4}\r?\n(a|1\r\na\r\n0\r\n\r\n|0\r\nA: b\r\n\r\n|1\na|GET / HTTP/1.1\r\n\r\n)?){0,4}",
    ) {
        let mut inbound = Inbound::default();
        let mut current = Vec::new();
        inbound.receive(input.as_bytes(), &mut current);
        while matches!(inbound.state, Reading::Answering) {
            prop_assert_eq!(read_by_actix(&current), Ok(0), "{:?}", String::from_utf8_lossy(&current));
            current.clear();
            inbound.take_refusal();
            inbound.answered(&mut current);
        }
        if inbound.take_broken().is_some() {
            prop_assert_eq!(read_by_actix(&current), Err("its body is not complete".to_owned()));
        } else if inbound.is_over() && inbound.take_refusal().is_some() {
            prop_assert_eq!(read_by_actix(&current), Ok(0));
        }
    }
}
