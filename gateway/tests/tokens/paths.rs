//! Other spellings of a path that needs a token.

use campanile_harness::client::raw::Client;

use super::{answer, start};

#[test]
fn no_spelling_of_a_path_goes_around_the_token() {
    let gateway = start();
    let raw = |request: String| answer(gateway.address, request.as_bytes());
    let host = "HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (method, target, status) in [
        ("GET", "/%70osition", 404),
        ("HEAD", "/%70osition", 404),
        ("GET", "/position%3Fa", 404),
        ("GET", "/position#x", 404),
        ("GET", "/position/", 404),
        ("GET", "//position", 404),
        ("GET", "/./position", 404),
        ("GET", "/POSITION", 404),
        ("GET", "ftp://localhost/position", 404),
        ("GET", "http://localhost/position", 401),
        ("GET", "/position?#x", 401),
        ("POST", "/position", 401),
    ] {
        let (got, head, body) = raw(format!("{method} {target} {host}"));
        assert_eq!(got, status, "{method} {target}: {head}{body}");
        let is_said = method == "HEAD" || body.starts_with("nothing at ");
        assert!(status != 404 || is_said, "{method} {target}: {body}");
    }
    // A second request behind one that needs no token is not answered.
    let two = format!("GET /campanile.js {host}GET /position {host}");
    let mut client = Client::raw(gateway.address);
    client.send(two.as_bytes());
    assert_eq!(client.response().0, 200);
    client.expect_end();
}
