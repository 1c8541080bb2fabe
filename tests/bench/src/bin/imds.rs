//! An IMDS that costs next to nothing: ready-made answers over blocking sockets, so that what is measured is the
//! client. `imds keep` leaves connections open, `imds close` ends each after one answer. Prints its address.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::{env, thread};

const DOCUMENT: &str = r#"{
  "Code" : "Success",
  "LastUpdated" : "2026-01-31T12:00:00Z",
  "Type" : "AWS-HMAC",
  "AccessKeyId" : "ASIAMADEUPFORTHEBENCH",
  "SecretAccessKey" : "made-up-made-up-made-up-made-up-made-up-",
  "Token" : "made-up-IQoJb3JpZ2luX2VjEN-made-up-made-up-made-up-made-up-made-up-made-up-made-up-made-up-made-up",
  "Expiration" : "2099-01-31T18:00:00Z"
}"#;

fn answer(keep: bool, content_type: &str, body: &str) -> Vec<u8> {
    let connection = if keep { "keep-alive" } else { "close" };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nX-Aws-Ec2-Metadata-Token-Ttl-Seconds: 21600\r\nContent-Type: {content_type}\r\n\
         Accept-Ranges: none\r\nContent-Length: {length}\r\nDate: Sat, 31 Jan 2026 12:00:00 GMT\r\nServer: EC2ws\r\n\
         Connection: {connection}\r\n\r\n{body}"
    );
    head.into_bytes()
}

fn main() {
    let keep = match env::args().nth(1).as_deref() {
        Some("keep") => true,
        Some("close") => false,
        _ => panic!("usage: imds keep|close"),
    };
    let answers = [
        ("PUT /latest/api/token ", answer(keep, "text/plain", "AQAEAmade-up-session-token-made-up-session-token-w==")),
        ("GET /latest/meta-data/iam/security-credentials/bench ", answer(keep, "text/plain", DOCUMENT)),
        ("GET /latest/meta-data/iam/security-credentials/ ", answer(keep, "text/plain", "bench")),
    ];
    let answers: &'static _ = Box::leak(Box::new(answers));
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    println!("{}", listener.local_addr().expect("it is bound"));
    for stream in listener.incoming() {
        let stream = stream.expect("connections can be accepted");
        stream.set_nodelay(true).expect("it is TCP");
        if keep {
            thread::spawn(move || while serve(&stream, answers) {});
        } else {
            serve(&stream, answers);
        }
    }
}

/// Answers one request; false when there is none, or one that IMDS would not be sent.
fn serve(mut stream: &TcpStream, answers: &[(&str, Vec<u8>)]) -> bool {
    let (mut head, mut length) = ([0; 4096], 0);
    while !head[..length].ends_with(b"\r\n\r\n") {
        match stream.read(&mut head[length..]) {
            Ok(read) if read > 0 => length += read,
            _ => return false,
        }
    }
    let answer = answers.iter().find(|(request, _)| head.starts_with(request.as_bytes()));
    answer.is_some_and(|(_, answer)| stream.write_all(answer).is_ok())
}
