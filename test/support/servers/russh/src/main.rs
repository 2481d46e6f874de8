//! A jump host written with russh: russhserver PORT AUTHORIZED_KEYS HOST_KEY. Like many of its
//! users it answers every error of connect() with "Connect failed". Port 9 is denied. Prints
//! "ready", and "session" when somebody opens a session channel.
use std::{fs, sync::Arc};

use russh::{
    keys::{load_secret_key, PublicKey},
    server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Server, Session, VerifiedPublicKey},
    Channel, ChannelOpenFailure, Error,
};
use tokio::net::{TcpListener, TcpStream};

const DENIED_PORT: u32 = 9;

#[derive(Clone)]
struct JumpHost {
    authorized: Arc<Vec<PublicKey>>,
}

impl Server for JumpHost {
    type Handler = Self;

    fn new_client(&mut self, _peer: Option<std::net::SocketAddr>) -> Self {
        self.clone()
    }
}

impl Handler for JumpHost {
    type Error = Error;

    async fn auth_publickey(&mut self, _user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Error> {
        let known = self.authorized.iter().any(|one| one.key_data() == key.public_key.key_data());
        Ok(if known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        println!("session");
        reply.reject(ChannelOpenFailure::UnknownChannelType).await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        if port == DENIED_PORT {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        }
        let to = (host.to_owned(), port as u16);
        tokio::spawn(async move {
            match TcpStream::connect(to).await {
                Ok(mut target) => {
                    reply.accept().await;
                    let mut stream = channel.into_stream();
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut target).await;
                }
                Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
            }
        });
        Ok(())
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let authorized = fs::read_to_string(&arguments[2])
        .unwrap()
        .lines()
        .filter_map(|line| PublicKey::from_openssh(line).ok())
        .collect();
    let config = Config {
        keys: vec![load_secret_key(&arguments[3], None).unwrap()],
        ..Default::default()
    };
    let listener = TcpListener::bind(("0.0.0.0", arguments[1].parse().unwrap())).await.unwrap();
    println!("ready");
    let mut server = JumpHost { authorized: Arc::new(authorized) };
    server.run_on_socket(Arc::new(config), &listener).await.unwrap();
}
