//! Servers that return a fixed body: `fixed sockets|axum ADDRESS FILE`. The first writes a ready-made answer to a
//! bare socket; the second is what the exporter is built on, with nothing behind it.

use std::{env, fs};

use axum::Router;
use axum::body::Bytes;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let [_, how, address, file] = &arguments[..] else { panic!("usage: fixed sockets|axum ADDRESS FILE") };
    let body = Bytes::from(fs::read(file).expect("the file can be read"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("the system has resources").block_on(async {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        match how.as_str() {
            "axum" => {
                let answer = move || std::future::ready(([("content-type", CONTENT_TYPE)], body.clone()));
                axum::serve(listener, Router::new().route("/metrics", get(answer))).await.expect("it serves");
            }
            _ => sockets(listener, &body).await,
        }
    });
}

async fn sockets(listener: TcpListener, body: &[u8]) {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {CONTENT_TYPE}\r\ncontent-length: {}\r\n\r\n", body.len());
    let answer = Bytes::from([head.as_bytes(), body].concat());
    loop {
        let (stream, _) = listener.accept().await.expect("connections can be accepted");
        tokio::spawn(serve(stream, answer.clone()));
    }
}

async fn serve(mut stream: TcpStream, answer: Bytes) {
    let mut head = [0; 4096];
    // The client sends one request at a time, and each in one piece.
    while stream.read(&mut head).await.is_ok_and(|read| read > 0) && stream.write_all(&answer).await.is_ok() {}
}
