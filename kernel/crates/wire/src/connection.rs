//! Owns authenticated connections: TLS with certificates on both sides, the greeting that compares protocol and
//! builds, and who is who. Everything before a role is known has one deadline, on both sides.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{ReadHalf, WriteHalf},
    net::{TcpStream, UnixListener, UnixStream},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{
    credentials::{Credentials, CredentialsError, Party},
    frame::{FrameError, FrameReader, FrameWriter, Limits},
    message::{Greeting, GreetingAnswer, PROTOCOL, Role, RoleAnswer},
    payload::Payload,
    shortcut::{Shortcuts, Stream, is_own, process_of},
};

/// How long the other side may take until it has shown who it is.
pub const AUTHENTICATION_DEADLINE: Duration = Duration::from_secs(10);
/// The same on the short way, where nothing but a busy processor is between the two.
const SHORTCUT_DEADLINE: Duration = Duration::from_secs(2);
/// A peer of whom nothing comes for so long, not even that it has got what was sent, is cut off.
const CUT_OFF: Duration = Duration::from_secs(15);
/// Connections a scheduler or worker serves at once.
pub const CONNECTIONS_MAX: usize = 16_384;

pub type Reader = FrameReader<ReadHalf<Stream>>;
pub type Writer = FrameWriter<WriteHalf<Stream>>;

/// Both directions of an authenticated connection.
pub struct Connection {
    pub reader: Reader,
    pub writer: Writer,
    short_to: Option<u32>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot reach {address}: {source}")]
    Unreachable { address: String, source: io::Error },
    #[error("{address} has not shown who it is in time")]
    Silent { address: String },
    #[error("{address} had not shown who it is when too many others came")]
    CrowdedOut { address: String },
    #[error("{address} and this process do not trust each other: {source}")]
    Untrusted { address: String, source: io::Error },
    #[error("{address} refused this process: {reason}")]
    Refused { address: String, reason: String },
    #[error("{address}: {source}")]
    Frame { address: String, source: FrameError },
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

impl ConnectError {
    /// The reason of a refusal without one: the other side may just be ending.
    pub(crate) const CLOSED: &str = "it closed the connection";
}

/// What the side with `mine` says to the side with `theirs`, if they cannot work together.
fn mismatch(theirs: &Greeting, mine: &Greeting) -> Option<String> {
    if theirs.protocol != mine.protocol {
        return Some(format!(
            "it speaks protocol {}, this side speaks {}; install the same version of Nuna on both",
            theirs.protocol, mine.protocol
        ));
    }
    (theirs.build != mine.build).then(|| {
        format!(
            "it runs build {}, this side runs build {}; code shipped between different builds would misread memory, so start both from the same installation",
            theirs.build, mine.build
        )
    })
}

/// Has the system notice that the other side is cut off, which it does after a quarter of an hour otherwise. For those
/// that ask and wait: on other connections heartbeats tell, and a side that is slow to read is not gone.
fn give_up_soon(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(CUT_OFF))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(CUT_OFF / 3).with_interval(CUT_OFF / 3))
}

/// Opens connections in the name of one party.
#[derive(Clone)]
pub struct Connector {
    tls: TlsConnector,
    build: Arc<str>,
    shortcuts: Shortcuts,
}

impl Connector {
    /// # Errors
    /// If the credentials are damaged.
    pub fn new(credentials: &Credentials, build: &str) -> Result<Self, ConnectError> {
        Ok(Self {
            tls: credentials.client_config()?.into(),
            build: build.into(),
            shortcuts: Shortcuts::of(credentials),
        })
    }

    /// Connects to the data server at `address` as a reader, the short way if there is one.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub(crate) async fn connect_reader(&self, address: SocketAddr) -> Result<Connection, ConnectError> {
        let short = async {
            let stream = self.shortcuts.connect(address).await?;
            self.greet(Stream::Short(stream), address, Role::Reader).await.ok()
        };
        if let Ok(Some((connection, _))) = timeout(SHORTCUT_DEADLINE, short).await {
            return Ok(connection);
        }
        Ok(self.connect(address, Party::Worker, Role::Reader).await?.0)
    }

    /// Connects to `party` at `address` and takes `role` there.
    ///
    /// # Errors
    /// If the other side cannot be reached, is not who it should be, runs another build, or refuses the role.
    pub async fn connect(
        &self,
        address: SocketAddr,
        party: Party,
        role: Role,
    ) -> Result<(Connection, RoleAnswer), ConnectError> {
        match timeout(AUTHENTICATION_DEADLINE, self.authenticate(address, party, role)).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::Silent { address: address.to_string() }),
        }
    }

    async fn authenticate(
        &self,
        to: SocketAddr,
        party: Party,
        role: Role,
    ) -> Result<(Connection, RoleAnswer), ConnectError> {
        let address = to.to_string();
        let unreachable = |source| ConnectError::Unreachable { address: address.clone(), source };
        let stream = TcpStream::connect(to).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        if matches!(role, Role::Reader) {
            give_up_soon(&stream).map_err(unreachable)?;
        }
        let name = ServerName::try_from(party.dns_name()).expect("party names are DNS names");
        let stream = (self.tls.connect(name, stream).await)
            .map_err(|source| ConnectError::Untrusted { address: address.clone(), source })?;
        self.greet(Stream::Long(Box::new(stream.into())), to, role).await
    }

    async fn greet(
        &self,
        stream: Stream,
        to: SocketAddr,
        role: Role,
    ) -> Result<(Connection, RoleAnswer), ConnectError> {
        let address = to.to_string();
        let frame = |source| match source {
            // With TLS 1.3 a server that does not like our certificate says so after the handshake.
            FrameError::Io(source) => ConnectError::Untrusted { address: address.clone(), source },
            source => ConnectError::Frame { address: address.clone(), source },
        };
        let mut connection = Connection::new(stream);
        connection
            .send(&Greeting { protocol: PROTOCOL, build: self.build.to_string() })
            .await
            .map_err(frame)?;
        let closed =
            || ConnectError::Refused { address: address.clone(), reason: ConnectError::CLOSED.into() };
        match connection.reader.read().await.map_err(frame)?.ok_or_else(closed)?.0 {
            GreetingAnswer::Welcome => {}
            GreetingAnswer::Refused { reason } => return Err(ConnectError::Refused { address, reason }),
        }
        connection.send(&role).await.map_err(frame)?;
        connection.reader.set_limits(Limits::CLUSTER);
        match connection.reader.read().await.map_err(frame)?.ok_or_else(closed)?.0 {
            RoleAnswer::Refused { reason } => Err(ConnectError::Refused { address, reason }),
            answer => Ok((connection, answer)),
        }
    }
}

/// Lets connections in, in the name of one party.
#[derive(Clone)]
pub struct Acceptor {
    tls: TlsAcceptor,
    build: Arc<str>,
    shortcuts: Shortcuts,
    deadline: Duration,
}

/// A connection whose role is known and has to be answered.
pub struct Incoming {
    pub role: Role,
    pub address: SocketAddr,
    connection: Connection,
}

impl Acceptor {
    /// # Errors
    /// If the credentials are damaged.
    pub fn new(credentials: &Credentials, build: &str) -> Result<Self, ConnectError> {
        Ok(Self {
            tls: credentials.server_config()?.into(),
            build: build.into(),
            shortcuts: Shortcuts::of(credentials),
            deadline: AUTHENTICATION_DEADLINE,
        })
    }

    /// Another deadline than [`AUTHENTICATION_DEADLINE`].
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Finds out who has connected.
    ///
    /// # Errors
    /// If it is not of this cluster, runs another build, or takes too long; the connection is closed then.
    pub async fn accept(&self, stream: TcpStream, address: SocketAddr) -> Result<Incoming, ConnectError> {
        match timeout(self.deadline, self.authenticate(stream, address)).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::Silent { address: address.to_string() }),
        }
    }

    async fn authenticate(&self, stream: TcpStream, from: SocketAddr) -> Result<Incoming, ConnectError> {
        let address = from.to_string();
        stream
            .set_nodelay(true)
            .map_err(|source| ConnectError::Unreachable { address: address.clone(), source })?;
        let stream = (self.tls.accept(stream).await)
            .map_err(|source| ConnectError::Untrusted { address: address.clone(), source })?;
        self.welcome(Stream::Long(Box::new(stream.into())), from).await
    }

    /// Opens the short way to the server at `address`.
    ///
    /// # Errors
    /// If somebody has taken its name. All can come the long way.
    pub fn open_shortcut(&self, address: SocketAddr) -> io::Result<UnixListener> {
        self.shortcuts.listen(address)
    }

    /// As [`accept`](Self::accept), of one who came the short way.
    pub(crate) async fn accept_short(
        &self,
        stream: UnixStream,
        address: SocketAddr,
    ) -> Result<Incoming, ConnectError> {
        if !is_own(&stream) {
            let source = io::Error::new(io::ErrorKind::PermissionDenied, "it runs under another user");
            return Err(ConnectError::Untrusted { address: "a process of this host".into(), source });
        }
        match timeout(self.deadline, self.welcome(Stream::Short(stream), address)).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::Silent { address: "a process of this host".into() }),
        }
    }

    async fn welcome(&self, stream: Stream, from: SocketAddr) -> Result<Incoming, ConnectError> {
        let address = from.to_string();
        let frame = |source| ConnectError::Frame { address: address.clone(), source };
        let mut connection = Connection::new(stream);
        let closed =
            || ConnectError::Frame { address: address.clone(), source: FrameError::Truncated { missing: 1 } };
        let (theirs, _) = connection.reader.read::<Greeting>().await.map_err(frame)?.ok_or_else(closed)?;
        let mine = Greeting { protocol: PROTOCOL, build: self.build.to_string() };
        if let Some(reason) = mismatch(&theirs, &mine) {
            connection.send(&GreetingAnswer::Refused { reason: reason.clone() }).await.map_err(frame)?;
            let _ = connection.writer.close().await;
            return Err(ConnectError::Refused { address, reason });
        }
        connection.send(&GreetingAnswer::Welcome).await.map_err(frame)?;
        let (role, _) = connection.reader.read::<Role>().await.map_err(frame)?.ok_or_else(closed)?;
        Ok(Incoming { role, address: from, connection })
    }
}

impl Incoming {
    /// Lets the other side in.
    ///
    /// # Errors
    /// If it is gone.
    pub async fn welcome(mut self, answer: RoleAnswer) -> Result<Connection, FrameError> {
        self.connection.send(&answer).await?;
        self.connection.reader.set_limits(Limits::CLUSTER);
        Ok(self.connection)
    }

    /// Sends the other side away.
    pub async fn refuse(mut self, reason: String) {
        let _ = self.connection.send(&RoleAnswer::Refused { reason }).await;
        let _ = self.connection.writer.close().await;
    }
}

impl Connection {
    fn new(stream: Stream) -> Self {
        let short_to = process_of(&stream);
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader: FrameReader::new(reader, Limits::GREETING),
            writer: FrameWriter::new(writer),
            short_to,
        }
    }

    /// The other side's process, as the system calls it, if it is one of this user and host.
    pub fn short_to(&self) -> Option<u32> {
        self.short_to
    }

    async fn send<H: serde::Serialize>(&mut self, header: &H) -> Result<(), FrameError> {
        self.writer.write(header, Payload::new()).await?;
        self.writer.flush().await
    }
}
