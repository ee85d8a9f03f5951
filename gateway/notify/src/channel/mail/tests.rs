//! What reaches a mail server, read by one that notes every line.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A mail server on this machine. Its only words of its own are answers to commands.
struct Server {
    port: u16,
    sessions: mpsc::UnboundedReceiver<Vec<String>>,
}

#[derive(Clone, Copy)]
struct Manner {
    /// What it offers beside `8BITMIME`.
    offer: Option<&'static str>,
    /// What it says to a login.
    login: &'static str,
}

const PLAIN: Manner = Manner {
    offer: None,
    login: "502 no",
};

impl Server {
    async fn start(manner: Manner) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, sessions) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = sender.send(session(stream, manner).await);
            }
        });
        Server { port, sessions }
    }

    /// All lines of the next session. Long enough for the slowest machine.
    async fn heard(&mut self) -> Vec<String> {
        let session = timeout(Duration::from_secs(30), self.sessions.recv());
        session.await.unwrap().unwrap()
    }

    fn settings(&self) -> MailSettings {
        MailSettings {
            host: "127.0.0.1".into(),
            port: self.port,
            tls: MailTls::Off,
            login: None,
            from: "Vaultgate <gate@example.com>".into(),
            to: vec!["one@example.com".into(), "Two <two@example.com>".into()],
        }
    }
}

/// All lines of one session, however it ends.
async fn session(stream: TcpStream, manner: Manner) -> Vec<String> {
    let (reading, mut writing) = stream.into_split();
    let mut lines = BufReader::new(reading).lines();
    let mut heard = Vec::new();
    let mut in_data = false;
    let mut answer = Some("220 test ESMTP".to_owned());
    loop {
        if let Some(answer) = answer {
            let answer = format!("{answer}\r\n");
            if writing.write_all(answer.as_bytes()).await.is_err() {
                return heard;
            }
        }
        let Ok(Some(line)) = lines.next_line().await else {
            return heard;
        };
        answer = reply(&line, manner, &mut in_data);
        heard.push(line);
    }
}

/// What the server says to a line; nothing within a text.
fn reply(line: &str, manner: Manner, in_data: &mut bool) -> Option<String> {
    if *in_data {
        *in_data = line != ".";
        return (!*in_data).then(|| "250 taken".to_owned());
    }
    let word = line.get(..4).unwrap_or_default();
    *in_data = word == "DATA";
    Some(match (word, manner.offer) {
        ("EHLO", Some(offer)) => format!("250-test\r\n250-8BITMIME\r\n250 {offer}"),
        ("EHLO", None) => "250-test\r\n250 8BITMIME".to_owned(),
        ("AUTH", _) => manner.login.to_owned(),
        ("DATA", _) => "354 go on".to_owned(),
        ("QUIT", _) => "221 bye".to_owned(),
        _ => "250 fine".to_owned(),
    })
}

fn mailer(settings: MailSettings) -> Mailer {
    let mail = Mail::new("m", settings).unwrap();
    Mailer::new(mail, None, Duration::from_secs(30)).unwrap()
}

fn login() -> MailLogin {
    MailLogin {
        user: "gate".into(),
        password: SecretString::from("hidden-password"),
    }
}

fn notice(title: &str) -> Notice {
    Notice::new("approval.asked", title, Timestamp::UNIX_EPOCH)
}

#[tokio::test]
async fn a_mail_arrives_and_no_value_becomes_a_header_or_its_end() {
    let mut server = Server::start(PLAIN).await;
    let mut notice = notice("Approve\r\nBcc: evil@example.com\r\n\r\nbody");
    notice.text = vec![
        ".".into(),
        "QUIT\r\n.\r\nMAIL FROM:<evil@example.com>".into(),
    ];
    notice.facts = vec![("vault".into(), "v1\nX-Evil: 1".into())];
    notice.link = Some("https://gateway.example/approvals".into());
    mailer(server.settings()).send(&notice).await.unwrap();
    let heard = server.heard().await;
    let has = |line: &str| heard.iter().any(|heard| heard == line);
    assert!(has("EHLO example.com"), "{heard:#?}");
    assert!(
        has("RCPT TO:<one@example.com>") && has("RCPT TO:<two@example.com>"),
        "{heard:#?}"
    );
    let subject = |line: &String| line.starts_with("Subject: Approve ") && line.contains("Bcc:");
    assert!(heard.iter().any(subject), "{heard:#?}");
    assert!(has("Auto-Submitted: auto-generated"), "{heard:#?}");
    let id = format!("Message-ID: <{}@example.com>", notice.id);
    assert!(has(&id), "{heard:#?}");
    assert!(has(".."), "a line with a dot alone is doubled: {heard:#?}");
    assert!(has("QUIT  .  MAIL FROM:<evil@example.com>"), "{heard:#?}");
    assert!(has("vault: v1 X-Evil: 1"), "{heard:#?}");
    assert!(has("https://gateway.example/approvals"), "{heard:#?}");
    let begins = |word: &str| heard.iter().filter(|line| line.starts_with(word)).count();
    assert_eq!(
        (begins("Bcc"), begins("X-Evil"), begins("MAIL FROM")),
        (0, 0, 1)
    );
}

#[tokio::test]
async fn a_text_beyond_ascii_arrives_encoded() {
    let mut server = Server::start(PLAIN).await;
    let mut notice = notice("Lösung\u{85}Bcc: x");
    notice.text = vec!["ä".repeat(600)];
    mailer(server.settings()).send(&notice).await.unwrap();
    let heard = server.heard().await;
    assert!(
        heard
            .iter()
            .all(|line| line.is_ascii() && line.len() <= 998),
        "{heard:#?}"
    );
    assert!(
        !heard.iter().any(|line| line.starts_with("Bcc")),
        "{heard:#?}"
    );
}

#[tokio::test]
async fn without_starttls_nothing_is_said() {
    let mut server = Server::start(PLAIN).await;
    let settings = MailSettings {
        tls: MailTls::StartTls,
        login: Some(login()),
        ..server.settings()
    };
    let error = mailer(settings)
        .send(&notice("hidden-title"))
        .await
        .unwrap_err();
    assert_eq!(error.blame(), Blame::Channel);
    let shown = format!("{error} {error:?}");
    assert!(
        shown.contains("127.0.0.1") && !shown.contains("hidden"),
        "{shown}"
    );
    let heard = server.heard().await;
    let said = |word: &str| heard.iter().any(|line| line.starts_with(word));
    assert!(
        said("EHLO") && !said("AUTH") && !said("MAIL") && !said("DATA"),
        "{heard:#?}"
    );
}

#[tokio::test]
async fn a_refused_login_is_told_by_its_code_only() {
    let manner = Manner {
        offer: Some("AUTH PLAIN"),
        login: "535 5.7.8 no such hidden-password",
    };
    let server = Server::start(manner).await;
    let settings = MailSettings {
        login: Some(login()),
        ..server.settings()
    };
    assert!(!format!("{settings:?}").contains("hidden"));
    let mailer = mailer(settings);
    let error = mailer.send(&notice("t")).await.unwrap_err();
    assert!(
        matches!(&error, MailError::Refused { code, .. } if code == "535"),
        "{error}"
    );
    // Another message would be refused as well: the account must not be locked.
    assert_eq!(error.blame(), Blame::Channel);
    for shown in [format!("{error} {error:?}"), format!("{mailer:?}")] {
        assert!(!shown.contains("hidden"), "{shown}");
    }
}

#[tokio::test]
async fn a_login_that_is_taken_is_used() {
    let manner = Manner {
        offer: Some("AUTH PLAIN"),
        login: "235 welcome",
    };
    let mut server = Server::start(manner).await;
    let settings = MailSettings {
        login: Some(login()),
        ..server.settings()
    };
    mailer(settings).send(&notice("t")).await.unwrap();
    let heard = server.heard().await;
    let at = |word: &str| heard.iter().position(|line| line.starts_with(word));
    assert!(
        at("AUTH PLAIN").unwrap() < at("MAIL FROM").unwrap(),
        "{heard:#?}"
    );
}

#[tokio::test]
async fn nobody_there_holds_the_channel() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let server = Server::start(PLAIN).await;
    let settings = MailSettings {
        port,
        ..server.settings()
    };
    let error = mailer(settings).send(&notice("t")).await.unwrap_err();
    assert!(matches!(error, MailError::Broken { .. }), "{error}");
    assert_eq!(error.blame(), Blame::Channel);
}

#[tokio::test]
async fn settings_that_do_not_do_are_refused() {
    let good = Server::start(PLAIN).await.settings();
    let refused = |settings: MailSettings| Mail::new("m", settings).unwrap_err().to_string();
    for host in ["mail.example.com", "localhost", "192.0.2.1"] {
        let settings = MailSettings {
            host: host.into(),
            ..good.clone()
        };
        assert!(refused(settings).contains("without TLS"), "{host}");
    }
    let injected = MailSettings {
        from: "a@example.com\r\nBcc: evil@example.com".into(),
        ..good.clone()
    };
    assert_eq!(
        refused(injected),
        "`a@example.com\\r\\nBcc: evil@example.com` is no mailbox"
    );
    let nobody = MailSettings {
        to: Vec::new(),
        ..good.clone()
    };
    assert_eq!(refused(nobody), "there are no recipients");
    let strange = MailSettings {
        host: "a b".into(),
        tls: MailTls::StartTls,
        ..good
    };
    assert_eq!(refused(strange), "`a b` is no host");
}
