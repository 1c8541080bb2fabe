//! The control interface over HTTP.

use serde_json::Value;
use tokio::net::TcpStream;

use super::client::*;
use crate::domain::Kind;
use crate::simulator::{Health, Simulator};

async fn control(simulator: &Simulator) -> TcpStream {
    TcpStream::connect(simulator.control_address().unwrap()).await.unwrap()
}

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn changes_are_posted_as_toml() {
    let simulator = simulator().await;
    let mut stream = control(&simulator).await;
    assert_eq!(exchange(&mut stream, &post("/", "fault = 'throttled'")).await.status, 204);
    assert_eq!(simulator.settings().fault, Some(Health::Faulty(Kind::Throttled)));

    for (body, word) in
        [("falt = 1", "falt"), ("fault = 'none'\nvariant = 'x'", "line 2"), ("fault = 'network_unreachable'", "127.")]
    {
        let refused = exchange(&mut stream, &post("/", body)).await;
        assert_eq!(refused.status, 400);
        assert!(refused.body.contains(word), "{}", refused.body);
    }
    assert_eq!(simulator.settings().fault, Some(Health::Faulty(Kind::Throttled)));
}

#[tokio::test]
async fn the_help_and_the_state_can_be_read() {
    let simulator = simulator().await;
    let mut stream = control(&simulator).await;
    let help = exchange(&mut stream, "GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!((help.status, help.header("content-type")), (200, Some("text/plain")));
    assert!(help.body.contains(&simulator.address().to_string()));
    assert!(help.body.contains("connect_timeout") && !help.body.contains("{faults}"));

    session(&simulator).await;
    let state = exchange(&mut stream, "GET /state HTTP/1.1\r\n\r\n").await;
    let state: Value = serde_json::from_str(&state.body).unwrap();
    assert_eq!(state["counts"]["token"], 1);
    assert_eq!(state["credential"]["last_updated"], NOW);
    let requests = exchange(&mut stream, "GET /requests HTTP/1.1\r\n\r\n").await;
    let requests: Value = serde_json::from_str(&requests.body).unwrap();
    assert_eq!((&requests[0]["method"], &requests[0]["at"]), (&"PUT".into(), &NOW.into()));
}

#[tokio::test]
async fn scenarios_are_played_by_name_or_as_sent() {
    let simulator = simulator().await;
    let mut stream = control(&simulator).await;
    let own = "title = 'a'\n[[step]]\nat = '0s'\nrole = 'played'";
    assert_eq!(exchange(&mut stream, &post("/play", own)).await.status, 202);
    while simulator.credential().role.as_str() != "played" {
        tokio::task::yield_now().await;
    }
    assert_eq!(exchange(&mut stream, &post("/play/role-detached", "")).await.status, 202);
    while simulator.credential().role.as_str() != "first-role" {
        tokio::task::yield_now().await;
    }
    assert_eq!(exchange(&mut stream, &post("/play/unknown", "")).await.status, 404);
    assert_eq!(exchange(&mut stream, &post("/play", "title = 1")).await.status, 400);
}

#[tokio::test]
async fn other_paths_methods_and_origins_are_rejected() {
    let simulator = simulator().await;
    let mut stream = control(&simulator).await;
    for (request, status) in [
        ("GET /other HTTP/1.1\r\n\r\n", 404),
        ("DELETE / HTTP/1.1\r\n\r\n", 405),
        ("GET /play/blog HTTP/1.1\r\n\r\n", 405),
        ("POST / HTTP/1.1\r\nOrigin: http://example.com\r\nContent-Length: 0\r\n\r\n", 403),
        ("POST / HTTP/1.1\r\nContent-Length: 65537\r\n\r\n", 413),
    ] {
        assert_eq!(exchange(&mut stream, request).await.status, status, "{request}");
    }
}
