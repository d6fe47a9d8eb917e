//! What `--listen` takes.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

/// A TCP address, or the path of a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Paths of sockets have so many bytes at most (`struct sockaddr_un`, with its final zero).
const MAX_PATH: usize = 107;

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix("unix:") else {
            return text.parse().map(Self::Tcp).map_err(|_| {
                "neither an address with a port, as 127.0.0.1:7117, nor unix: and a path".to_owned()
            });
        };
        if !path.starts_with('/') || path.ends_with('/') {
            Err("the path of a socket begins with / and ends with its name".into())
        } else if path.len() > MAX_PATH {
            Err(format!("the path of a socket has at most {MAX_PATH} bytes"))
        } else {
            Ok(Self::Unix(path.into()))
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_tcp_or_of_a_socket() {
        for text in ["127.0.0.1:7117", "[::1]:0", "unix:/run/synscope.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        let long = format!("unix:/{}", "x".repeat(MAX_PATH));
        for text in ["localhost", "localhost:80", "unix:", "unix:here", "unix:/run/", &long] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
