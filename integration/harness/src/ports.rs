//! Free ports, and as many open files as the system allows.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use tokio::net::TcpSocket;

/// A listener on a free port.
pub fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    // Without room for all of 2,000 clients, some would have to try again a second later.
    socket2::SockRef::from(&listener).listen(4_096).expect("a bound listener");
    let address = listener.local_addr().expect("a bound listener");
    (listener, address)
}

/// A port on which nobody listens yet, reserved for a broker that comes later.
pub fn reserved_port() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    // A broker that comes back needs the option on every socket of its port.
    socket.set_reuseaddr(true).expect("an option");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let addr = socket.local_addr().expect("bound");
    (socket, addr)
}

/// Lets this process open as many files as the system allows: each connection is one.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let limit = Rlimit { current: maximum, maximum };
    setrlimit(Resource::Nofile, limit).expect("the soft limit may be as high as the hard one");
}
