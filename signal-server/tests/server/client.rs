//! A client of the signal socket, as far as its messages go.

use std::{net::SocketAddr, time::Duration};

use fugitive_signal::{Signal, ToClient, ToServer, decode, encode};
use futures_util::{SinkExt, StreamExt};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

use crate::running::Running;

pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub id: String,
    pub ticket: String,
    pub offered: Vec<String>,
}

pub async fn connect(server: &Running, origin: Option<&str>) -> Result<Client, Error> {
    connect_to(server.address, origin).await
}

pub async fn connect_to(server: SocketAddr, origin: Option<&str>) -> Result<Client, Error> {
    let url = format!("ws://{server}/fugitive/signal");
    let mut request = url.into_client_request().unwrap();
    if let Some(origin) = origin {
        let origin = origin.parse().unwrap();
        request.headers_mut().insert("origin", origin);
    }
    let (socket, _) = connect_async(request).await?;
    Ok(Client {
        socket,
        id: String::new(),
        ticket: String::new(),
        offered: Vec::new(),
    })
}

pub fn joining(page: &str, want: u16, ticket: Option<String>) -> ToServer {
    ToServer::Join {
        version: fugitive_signal::VERSION,
        page: page.into(),
        want,
        ticket,
        room: None,
        position: None,
    }
}

pub async fn join(server: &Running, page: &str, want: u16, ticket: Option<String>) -> Client {
    join_at(server.address, page, want, ticket).await
}

pub async fn join_at(server: SocketAddr, page: &str, want: u16, ticket: Option<String>) -> Client {
    let mut client = connect_to(server, Some("https://site")).await.unwrap();
    client.say(&joining(page, want, ticket)).await;
    match client.hear().await {
        Some(ToClient::Welcome { id, ticket, .. }) => (client.id, client.ticket) = (id, ticket),
        other => panic!("{other:?}"),
    }
    match client.hear().await {
        Some(ToClient::Offered { peers }) => client.offered = peers,
        other => panic!("{other:?}"),
    }
    client
}

pub fn description(sdp: &str) -> Signal {
    Signal::Description {
        kind: "offer".into(),
        sdp: sdp.into(),
    }
}

impl Client {
    pub async fn say(&mut self, message: &ToServer) {
        self.send(Message::binary(encode(message))).await;
    }

    pub async fn send(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// The next message; `None` if the server closed.
    pub async fn next(&mut self) -> Option<ToClient> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Binary(bytes))) => return Some(decode(&bytes).unwrap()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return None,
            }
        }
    }

    /// The next message that is not about the manifest, whose first edition comes at any time.
    pub async fn hear(&mut self) -> Option<ToClient> {
        let talk = async {
            loop {
                match self.next().await {
                    Some(ToClient::Manifest {}) => {}
                    other => return other,
                }
            }
        };
        let talk = timeout(Duration::from_secs(10), talk);
        talk.await.expect("something within ten seconds")
    }

    /// Why the server closed.
    pub async fn refused(mut self) -> String {
        let mut last = String::new();
        while let Some(message) = self.hear().await {
            if let ToClient::Refused { why } = message {
                last = why;
            }
        }
        last
    }

    pub async fn silent(&mut self) -> bool {
        timeout(Duration::from_millis(300), self.hear())
            .await
            .is_err()
    }
}
