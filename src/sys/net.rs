//! Sockets and the addresses of this machine.

use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::cvt;

/// A listening socket with a queue of `backlog` connections not yet accepted. An address whose last
/// connections are still closing may be taken again (SO_REUSEADDR), one in use may not.
pub fn listen(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: numbers in, a descriptor out, which is owned at once.
    let socket = unsafe {
        OwnedFd::from_raw_fd(cvt(libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0))?)
    };
    set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    bind(socket.as_raw_fd(), address)?;
    // SAFETY: a bound descriptor and a number.
    cvt(unsafe { libc::listen(socket.as_raw_fd(), backlog) })?;
    Ok(TcpListener::from(socket))
}

fn bind(socket: RawFd, address: SocketAddr) -> io::Result<()> {
    match address {
        SocketAddr::V4(v4) => {
            // SAFETY: `sockaddr_in` is plain data for which zeros are valid.
            let mut raw: libc::sockaddr_in = unsafe { std::mem::zeroed() };
            raw.sin_family = libc::AF_INET as libc::sa_family_t;
            raw.sin_port = v4.port().to_be();
            raw.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
            bind_raw(socket, &raw)
        }
        SocketAddr::V6(v6) => {
            // SAFETY: `sockaddr_in6` is plain data for which zeros are valid.
            let mut raw: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
            raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            raw.sin6_port = v6.port().to_be();
            raw.sin6_addr.s6_addr = v6.ip().octets();
            raw.sin6_scope_id = v6.scope_id();
            bind_raw(socket, &raw)
        }
    }
}

fn bind_raw<T>(socket: RawFd, address: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the callers pass a whole socket address structure, which lives through the call.
    cvt(unsafe { libc::bind(socket, std::ptr::from_ref(address).cast(), len) })?;
    Ok(())
}

/// Sizes of the kernel's buffers of a socket in bytes; 0 leaves the system's choice.
pub fn set_buffers(socket: &impl AsRawFd, send: i32, receive: i32) -> io::Result<()> {
    for (option, bytes) in [(libc::SO_SNDBUF, send), (libc::SO_RCVBUF, receive)] {
        if bytes > 0 {
            set_option(socket.as_raw_fd(), libc::SOL_SOCKET, option, bytes)?;
        }
    }
    Ok(())
}

/// Bytes that have arrived on a socket and are not read.
pub fn unread(socket: &impl AsRawFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the call writes one int, to one that lives through it.
    cvt(unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONREAD, &mut bytes) })?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

fn set_option(socket: RawFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    let len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the pointer is to an i32 that lives through the call, as `len` says.
    cvt(unsafe {
        libc::setsockopt(socket, level, option, std::ptr::from_ref(&value).cast(), len)
    })?;
    Ok(())
}

/// One address of one network interface that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub address: IpAddr,
    pub point_to_point: bool,
}

/// The addresses of this machine, in the kernel's order.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the call fills `list`, which is freed below.
    cvt(unsafe { libc::getifaddrs(&mut list) })?;
    let mut found = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: `next` is a node of the list, which lives until freeifaddrs.
        let node = unsafe { &*next };
        next = node.ifa_next;
        if node.ifa_flags & libc::IFF_UP as u32 == 0 {
            continue;
        }
        if let Some(address) = address_of(node.ifa_addr) {
            // SAFETY: every node has a name that ends with a zero.
            let name = unsafe { CStr::from_ptr(node.ifa_name) };
            let name = name.to_string_lossy().into_owned();
            let point_to_point = node.ifa_flags & libc::IFF_POINTOPOINT as u32 != 0;
            found.push(Interface { name, address, point_to_point });
        }
    }
    // SAFETY: the list that getifaddrs made; nothing borrowed from it is left.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

fn address_of(raw: *const libc::sockaddr) -> Option<IpAddr> {
    if raw.is_null() {
        return None;
    }
    // SAFETY: getifaddrs gives a structure of the size that its family says, aligned for it.
    unsafe {
        match i32::from((*raw).sa_family) {
            libc::AF_INET => {
                let v4 = &*raw.cast::<libc::sockaddr_in>();
                Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr))))
            }
            libc::AF_INET6 => {
                let v6 = &*raw.cast::<libc::sockaddr_in6>();
                Some(IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn loopback_is_among_the_interfaces() {
        let found = interfaces().unwrap();
        assert!(found.iter().any(|i| i.address.is_loopback()), "{found:?}");
    }

    #[test]
    fn what_is_not_read_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut out = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut socket, _) = listener.accept().unwrap();
        assert_eq!(unread(&socket).unwrap(), 0);
        out.write_all(&[7; 100]).unwrap();
        drop(out);
        let mut bytes = [0; 30];
        socket.read_exact(&mut bytes).unwrap();
        assert_eq!(unread(&socket).unwrap(), 70);
    }

    #[test]
    fn a_port_in_use_is_refused() {
        let first = listen("127.0.0.1:0".parse().unwrap(), 16).unwrap();
        let address = first.local_addr().unwrap();
        let error = listen(address, 16).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        set_buffers(&first, 0, 65536).unwrap();
        drop(first);
        listen(address, 16).unwrap();
    }
}
