//! An STS of the tests' own: over TLS with an authority of its own, or without; it can answer in every way. It knows
//! credentials by key id and token: the simulator's checks signatures.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use imds_exporter::simulator::{CREDENTIAL_TOKEN_PREFIX, KEY_ID_PREFIX};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::exporter::listen;
use super::request::read_head;

/// The account of all credentials here.
pub(crate) const ACCOUNT: &str = "123456789012";
pub(crate) const USER_ID: &str = "AROACANARYUSERID0000:i-0canary";
pub(crate) const ARN: &str = "arn:aws:sts::123456789012:assumed-role/canary-role/i-0canary";

/// Longer than a call may take.
const HANGS_FOR: Duration = Duration::from_secs(30);

/// What it does with a call.
#[derive(Clone, Debug)]
pub(crate) enum Behavior {
    /// Answers as AWS does where the signature is right.
    Check,
    /// Answers so, whatever the request is.
    Answer(u16, String),
    /// Redirects to itself.
    Redirect,
    /// Reads the request and never answers.
    Hang,
    /// Answers a byte every 100 ms.
    Drip,
    /// Closes the connection in the middle of the answer.
    CutOff,
    /// Answers in plain text where TLS is expected.
    NotTls,
}

/// A body as AWS writes it. Source: "Common errors" and the examples of the STS API reference.
pub(crate) fn error_body(code: &str, message: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <Error>\n    <Type>Sender</Type>\n    \
         <Code>{code}</Code>\n    <Message>{message}</Message>\n  </Error>\n  \
         <RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId>\n</ErrorResponse>\n"
    )
}

fn accepted_body() -> String {
    format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <GetCallerIdentityResult>\n    \
         <Arn>{ARN}</Arn>\n    <UserId>{USER_ID}</UserId>\n    <Account>{ACCOUNT}</Account>\n  </GetCallerIdentityResult>\n  \
         <ResponseMetadata>\n    <RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId>\n  </ResponseMetadata>\n\
         </GetCallerIdentityResponse>\n"
    )
}

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call {
    headers: HashMap<String, String>,
    body: String,
}

impl Call {
    async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Self> {
        let text = String::from_utf8(read_head(stream).await?).expect("the head is text");
        let header = |line: &str| {
            let (name, value) = line.split_once(':').expect("a header has a colon");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        let headers: HashMap<_, _> = text.trim_end().lines().skip(1).map(header).collect();
        let length = headers.get("content-length").map_or(0, |length| length.parse().expect("a number"));
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        Some(Self { headers, body: String::from_utf8(body).expect("the body is text") })
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// What AWS answers where the signature is right, if this is a key with its token.
    fn checked(&self, region: &str, is_known: impl Fn(&str, &str) -> bool) -> (u16, String) {
        let authorization = self.header("authorization");
        let credential = authorization.strip_prefix("AWS4-HMAC-SHA256 Credential=").expect("it is signed");
        let (key_id, scope) = credential.split_once('/').expect("a scope follows the key id");
        assert!(scope.contains(&format!("/{region}/sts/aws4_request, ")), "signed for another region: {scope}");
        assert_eq!(self.body, "Action=GetCallerIdentity&Version=2011-06-15");
        if is_known(key_id, self.header("x-amz-security-token")) {
            (200, accepted_body())
        } else {
            (403, error_body("InvalidClientTokenId", "The security token included in the request is invalid"))
        }
    }
}

/// An authority, and certificates of it.
pub(crate) struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self(Issuer::new(params, key), pem)
    }

    /// Writes the authority's certificate, as `AWS_CA_BUNDLE` takes it.
    pub(crate) fn write(&self, file: &Path) {
        std::fs::write(file, &self.1).expect("the folder can be written");
    }

    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a certificate with its key");
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A running STS.
pub(crate) struct TestSts {
    pub(crate) address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    tls: Option<TlsAcceptor>,
    region: String,
    behavior: Mutex<Behavior>,
    calls: Mutex<Vec<Call>>,
    forgotten: AtomicBool,
}

impl TestSts {
    /// One in clear text, which knows the simulator's credentials.
    pub(crate) async fn start(region: &str) -> Self {
        Self::start_with(region, None).await
    }

    /// One with a certificate for this name.
    pub(crate) async fn start_tls(region: &str, authority: &Authority, name: &str) -> Self {
        Self::start_with(region, Some(authority.acceptor(name))).await
    }

    async fn start_with(region: &str, tls: Option<TlsAcceptor>) -> Self {
        let (listener, address) = listen().await;
        let inner = Arc::new(Inner {
            tls,
            region: region.to_owned(),
            behavior: Mutex::new(Behavior::Check),
            calls: Mutex::default(),
            forgotten: AtomicBool::new(false),
        });
        let served = Arc::clone(&inner);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let inner = Arc::clone(&served);
                tokio::spawn(async move { inner.accept(stream).await });
            }
        });
        Self { address, inner }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", if self.inner.tls.is_some() { "https" } else { "http" }, self.address)
    }

    pub(crate) fn set(&self, behavior: Behavior) {
        *lock(&self.inner.behavior) = behavior;
    }

    /// Makes it forget all credentials, as if the role had been deleted.
    pub(crate) fn forget_all(&self) {
        self.inner.forgotten.store(true, Ordering::Relaxed);
    }

    /// The calls so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        lock(&self.inner.calls).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no test panics while it holds this")
}

impl Inner {
    async fn accept(&self, mut stream: TcpStream) {
        match &self.tls {
            Some(_) if matches!(*lock(&self.behavior), Behavior::NotTls) => {
                let _gone = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            }
            Some(tls) => {
                if let Ok(stream) = tls.accept(stream).await {
                    self.serve(stream).await;
                }
            }
            None => self.serve(stream).await,
        }
    }

    async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        while let Some(call) = Call::read(&mut stream).await {
            lock(&self.calls).push(call.clone());
            let behavior = lock(&self.behavior).clone();
            let head = |status: u16, length: usize| {
                format!("HTTP/1.1 {status} x\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\n\r\n")
            };
            let (status, body) = match &behavior {
                Behavior::Answer(status, body) => (*status, body.clone()),
                Behavior::Hang => return tokio::time::sleep(HANGS_FOR).await,
                Behavior::Redirect => {
                    let host = call.header("host");
                    let scheme = if self.tls.is_some() { "https" } else { "http" };
                    let text = format!("HTTP/1.1 307 x\r\nLocation: {scheme}://{host}/\r\nContent-Length: 0\r\n\r\n");
                    let _gone = stream.write_all(text.as_bytes()).await;
                    continue;
                }
                Behavior::Check | Behavior::Drip | Behavior::CutOff | Behavior::NotTls => {
                    // The credentials of a document have its number.
                    call.checked(&self.region, |key_id, token| {
                        let number = key_id.strip_prefix(KEY_ID_PREFIX);
                        let its_token = number.map(|number| format!("{CREDENTIAL_TOKEN_PREFIX}-{number}=="));
                        its_token.as_deref() == Some(token) && !self.forgotten.load(Ordering::Relaxed)
                    })
                }
            };
            let mut answer = head(status, body.len()).into_bytes();
            answer.extend_from_slice(body.as_bytes());
            match behavior {
                Behavior::CutOff => {
                    let _gone = stream.write_all(&answer[..answer.len() / 2]).await;
                    let _gone = stream.flush().await;
                    return;
                }
                Behavior::Drip => {
                    for byte in answer {
                        if stream.write_all(&[byte]).await.is_err() || stream.flush().await.is_err() {
                            return;
                        }
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
                _ => {
                    if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}
