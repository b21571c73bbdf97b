//! The proxy does to a connection what its mode says, and nothing else.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use campanile_harness::{End, Mode, Proxy, Towards, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Long enough to see that nothing comes.
const QUIET: Duration = Duration::from_millis(200);

/// A connection through a proxy, with the side that it leads to.
struct Pair {
    proxy: Proxy,
    listener: TcpListener,
    client: TcpStream,
    target: TcpStream,
}

impl Pair {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let proxy = Proxy::to(listener.local_addr().expect("bound")).await;
        let (client, target) = connect(&proxy, &listener).await;
        Self { proxy, listener, client, target }
    }
}

async fn connect(proxy: &Proxy, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(proxy.address).await.expect("a proxy");
    let (target, _) = within("the other side", listener.accept()).await.expect("a connection");
    (client, target)
}

async fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.expect("an open connection");
}

/// The next so many bytes.
async fn hear(stream: &mut TcpStream, len: usize) -> String {
    let mut bytes = vec![0; len];
    within("some bytes", stream.read_exact(&mut bytes)).await.expect("an open connection");
    String::from_utf8(bytes).expect("UTF-8")
}

/// What comes up to the end, and whether that was orderly.
async fn hear_all(stream: &mut TcpStream) -> (String, bool) {
    let mut bytes = Vec::new();
    let end = within("the end", stream.read_to_end(&mut bytes)).await;
    (String::from_utf8(bytes).expect("UTF-8"), end.is_ok())
}

async fn hears_nothing(stream: &mut TcpStream) {
    let heard = timeout(QUIET, stream.read_u8()).await;
    assert!(heard.is_err(), "it heard {heard:?}");
}

#[tokio::test]
async fn everything_passes_up_to_the_end_of_each_side() {
    let Pair { proxy, mut client, mut target, .. } = Pair::new().await;
    let large = "x".repeat(1 << 20);
    let (said, heard) = tokio::join!(say(&mut client, &large), hear(&mut target, large.len()));
    assert!(heard == large, "{said:?}");
    say(&mut target, "hello").await;
    assert_eq!(hear(&mut client, 5).await, "hello");
    client.shutdown().await.expect("an open connection");
    assert_eq!(hear_all(&mut target).await, (String::new(), true));
    say(&mut target, "the other side still speaks").await;
    drop(target);
    assert_eq!(hear_all(&mut client).await, ("the other side still speaks".to_owned(), true));
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn both_sides_see_the_ordered_cut_and_new_connections_pass() {
    for end in [End::Fin, End::Reset] {
        let Pair { proxy, listener, mut client, mut target } = Pair::new().await;
        proxy.live(Mode::Cut(end));
        assert_eq!(hear_all(&mut client).await, (String::new(), end == End::Fin));
        assert_eq!(hear_all(&mut target).await, (String::new(), end == End::Fin));
        let (mut client, mut target) = connect(&proxy, &listener).await;
        say(&mut client, "again").await;
        assert_eq!(hear(&mut target, 5).await, "again");
        assert_eq!(proxy.accepted(), 2);
    }
}

#[tokio::test]
async fn a_half_open_connection_is_seen_by_one_side_only() {
    let Pair { proxy, mut client, mut target, .. } = Pair::new().await;
    proxy.live(Mode::Cut(End::HalfOpen));
    assert_eq!(hear_all(&mut client).await, (String::new(), false));
    say(&mut target, "anybody?").await;
    hears_nothing(&mut target).await;
    proxy.live(Mode::Cut(End::Reset));
    assert_eq!(hear_all(&mut target).await, (String::new(), false));
}

#[tokio::test]
async fn a_black_hole_takes_everything_also_the_end_and_is_not_healed() {
    for rude in [false, true] {
        let Pair { proxy, listener, mut client, mut target } = Pair::new().await;
        proxy.live(Mode::Swallow);
        say(&mut client, "anybody?").await;
        say(&mut target, "anybody?").await;
        hears_nothing(&mut target).await;
        hears_nothing(&mut client).await;
        if rude {
            client.set_zero_linger().expect("an open connection");
        }
        drop(client);
        hears_nothing(&mut target).await;
        say(&mut target, "x").await;
        let (mut other, mut its_target) = connect(&proxy, &listener).await;
        say(&mut other, "new").await;
        assert_eq!(hear(&mut its_target, 3).await, "new");
        proxy.live(Mode::Pass);
        assert!(!hear_all(&mut target).await.1);
        say(&mut other, "still").await;
        assert_eq!(hear(&mut its_target, 5).await, "still");
    }
}

#[tokio::test]
async fn new_connections_into_a_black_hole_are_not_refused() {
    let Pair { proxy, .. } = Pair::new().await;
    proxy.new_ones(Mode::Swallow);
    let mut client = TcpStream::connect(proxy.address).await.expect("a proxy");
    say(&mut client, "anybody?").await;
    hears_nothing(&mut client).await;
    proxy.all(Mode::Cut(End::Reset));
    assert!(!hear_all(&mut client).await.1);
    let mut refused = TcpStream::connect(proxy.address).await.expect("a proxy");
    assert!(!hear_all(&mut refused).await.1);
}

#[tokio::test]
async fn what_is_held_comes_later_and_nothing_is_missing() {
    let Pair { proxy, mut client, mut target, .. } = Pair::new().await;
    proxy.live(Mode::Hold);
    say(&mut client, "patience").await;
    hears_nothing(&mut target).await;
    proxy.live(Mode::Pass);
    assert_eq!(hear(&mut target, 8).await, "patience");
}

#[tokio::test]
async fn what_is_delayed_comes_that_much_later() {
    let Pair { proxy, mut client, mut target, .. } = Pair::new().await;
    let delay = Duration::from_millis(100);
    proxy.live(Mode::Delay(delay));
    let said = Instant::now();
    say(&mut client, "slowly").await;
    assert_eq!(hear(&mut target, 6).await, "slowly");
    assert!(said.elapsed() >= delay, "after {:?}", said.elapsed());
}

#[tokio::test]
async fn a_truncated_direction_ends_after_so_many_bytes() {
    for bytes in [0, 1, 4, 10] {
        for end in [End::Fin, End::Reset] {
            let Pair { proxy, mut client, mut target, .. } = Pair::new().await;
            proxy.live(Mode::Truncate(Towards::Target, bytes, end));
            say(&mut target, "the other direction").await;
            if bytes > 0 {
                assert_eq!(hear(&mut client, 19).await, "the other direction");
                say(&mut client, "0123456789").await;
            }
            // A reset may overtake what was said before.
            let (heard, orderly) = hear_all(&mut target).await;
            assert!(heard == "0123456789"[..bytes] || end == End::Reset, "{heard}");
            assert!(orderly == (end == End::Fin) || bytes == 0);
        }
    }
}

#[tokio::test]
async fn byte_by_byte_everything_passes_in_both_directions() {
    let Pair { proxy, mut client, mut target, .. } = Pair::new().await;
    proxy.live(Mode::Split);
    let text = "abc".repeat(1_000);
    say(&mut client, &text).await;
    assert!(hear(&mut target, text.len()).await == text);
    say(&mut target, &text).await;
    assert!(hear(&mut client, text.len()).await == text);
}

#[tokio::test]
async fn the_first_bytes_come_on_their_own() {
    for first in 1..10 {
        let Pair { proxy, mut client, mut target, .. } = Pair::new().await;
        proxy.live(Mode::SplitAt(Towards::Target, first));
        say(&mut client, "0123456789").await;
        let mut bytes = [0; 100];
        let read = within("the first bytes", target.read(&mut bytes)).await;
        assert_eq!(read.expect("an open connection"), first);
        assert_eq!(hear(&mut target, 10 - first).await, "0123456789"[first..]);
    }
}

#[tokio::test]
async fn while_the_target_is_not_there_connections_are_reset() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address: SocketAddr = nobody.local_addr().expect("bound");
    drop(nobody);
    let proxy = Proxy::to(address).await;
    let mut client = TcpStream::connect(proxy.address).await.expect("a proxy");
    assert!(!hear_all(&mut client).await.1);
}

#[tokio::test]
async fn the_connections_of_a_proxy_end_with_it() {
    let Pair { proxy, mut client, mut target, .. } = Pair::new().await;
    drop(proxy);
    assert!(!hear_all(&mut client).await.1);
    assert!(!hear_all(&mut target).await.1);
}
