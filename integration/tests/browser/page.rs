//! The gateway's page in a real browser, against a real cluster.

use campanile_harness::command;

use crate::chromium::{with_page, with_page_and_settings, with_page_below};

/// Requests a URL that the page shows: a POST with a body, a GET without.
async fn fetch(url: &str, body: Option<&'static str>) -> String {
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let request = match body {
        None => http.get(url),
        Some(body) => http.post(url).header("Content-Type", "text/plain").body(body),
    };
    request.send().await.expect("an answer").text().await.expect("a text")
}

fn message(audience: &str, content: &str) -> (String, String) {
    (audience.to_owned(), content.to_owned())
}

#[tokio::test]
async fn the_page_shows_its_greeting_and_pushes_to_everyone() {
    with_page("", async |page, up| {
        let greeting = page.shown("#greeting").await;
        let worker = page.text("#worker-id").await;
        let connection = page.text("#connection-id").await;
        assert_eq!(greeting, format!("workerID:{worker} connectionID:{connection} connected"));
        assert!(worker.parse::<u64>().is_ok() && connection.parse::<u64>().is_ok(), "{greeting}");
        up.publisher.everyone("안녕, everyone").await;
        up.publisher.everyone("last").await;
        let expected = [message("everyone", "안녕, everyone"), message("everyone", "last")];
        assert_eq!(page.messages_until("last").await, expected);
        assert_eq!(page.text("#count").await, "2");
    })
    .await;
}

#[tokio::test]
async fn the_page_asks_for_a_key_where_the_publisher_does() {
    let folder = tempfile::TempDir::new().expect("a directory");
    let (settings, file) = (folder.path().join("settings"), folder.path().join("key"));
    let key = format!("cpk_{:032x}", rand::random::<u128>());
    std::fs::write(&file, &key).expect("it can be written");
    let entry = format!("[[keys]]\nname = 'page'\nsecret_file = {file:?}\nscopes = ['everyone']\n");
    std::fs::write(&settings, entry).expect("it can be written");
    with_page_and_settings(&settings, async |page, _| {
        page.until_state("connected").await;
        let is_asked =
            async || page.js("return !document.querySelector('#push-key').disabled", &[]).await;
        assert_eq!(is_asked().await, false);
        let (outcome, text) = page.push("without").await;
        assert_eq!(outcome, "refused");
        assert!(text.starts_with("401: ") && text.contains("a key is needed"), "{text}");
        assert_eq!(is_asked().await, true);
        page.fill("#push-key", &key).await;
        let (outcome, text) = page.push("with the key").await;
        assert_eq!(outcome, "accepted", "{text}");
        assert_eq!(page.messages_until("with the key").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_page_takes_a_token_from_its_address() {
    let folder = tempfile::TempDir::new().expect("a directory");
    let (settings, secret) = (folder.path().join("settings"), folder.path().join("secret"));
    std::fs::write(&secret, format!("{:032x}", rand::random::<u128>())).expect("it can be written");
    let entry = format!("[[tokens.keys]]\nsecret_file = {secret:?}\n");
    std::fs::write(&settings, entry).expect("it can be written");
    let token = |user: &str| {
        let secret = secret.to_str().expect("UTF-8");
        let args = ["token", "make", "--key-file", secret, "--user", user, "--group", "news"];
        let output = command(&args).output().expect("it runs");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let write = "location.hash = `#token=${arguments[0].trim()}`";
    with_page_and_settings(&settings, async |page, up| {
        page.until_state("stopped").await;
        let detail = page.text("#state-detail").await;
        assert!(detail.contains("4401") && detail.ends_with("#token=TOKEN"), "{detail}");
        page.js(write, &[&token("42")]).await;
        page.until_state("connected").await;
        page.join("news").await;
        up.publisher.group("news", "for those with a token").await;
        assert_eq!(page.messages_until("for those with a token").await.len(), 1);
        let address = page.js("return location.href", &[]).await;
        assert!(address.as_str().expect("a URL").contains("/?group=news#token="), "{address}");
    })
    .await;
}

#[tokio::test]
async fn each_push_of_the_form_arrives_once() {
    with_page("", async |page, up| {
        page.join("news").await;
        for (audience, receipt) in [
            ("everyone", "accepted: matched 1 connection on 1 gateway (durability disk, "),
            ("group", "accepted: matched 1 connection on 1 gateway (durability disk, "),
            ("connection", "accepted: written to 1 connection"),
        ] {
            page.select("#push-audience", audience).await;
            if audience == "group" {
                page.fill("#push-group", "news").await;
            }
            let (outcome, text) = page.push(&format!("to {audience}")).await;
            assert_eq!(outcome, "accepted", "{text}");
            assert!(text.starts_with(receipt), "{text}");
        }
        up.publisher.everyone("last").await;
        let expected = [
            message("everyone", "to everyone"),
            message("group", "to group"),
            message("connection", "to connection"),
            message("everyone", "last"),
        ];
        assert_eq!(page.messages_until("last").await, expected);
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_is_shown_with_its_reason() {
    with_page("", async |page, _| {
        page.fill("#join-group", &"é".repeat(128)).await;
        page.click("#join-submit").await;
        let problem = "A group name has at most 255 bytes; this one has 256.";
        assert_eq!(page.text("#join-error").await, problem);
        assert_eq!(page.text("#groups").await, "");

        page.select("#push-audience", "group").await;
        page.fill("#push-group", &"é".repeat(128)).await;
        assert_eq!(page.push("unheard").await, ("refused".to_owned(), problem.to_owned()));

        // The publisher checks the rest.
        page.select("#push-audience", "everyone").await;
        let fill = "document.querySelector('#push-content').value = 'x'.repeat((1 << 20) + 1)";
        page.js(fill, &[]).await;
        let (outcome, text) = page.submit().await;
        assert_eq!(outcome, "refused");
        assert!(text.starts_with("413: "), "{text}");
        // A browser does not submit a form without a required field.
        page.fill("#push-content", "").await;
        page.click("#push-submit").await;
        let missing = "return document.querySelector('#push-content').validity.valueMissing";
        assert_eq!(page.js(missing, &[]).await, true);
        assert_eq!(page.messages().await, []);
    })
    .await;
}

#[tokio::test]
async fn a_group_is_heard_from_its_join_to_its_leave() {
    with_page("?group=from+the+url", async |page, up| {
        page.join("news").await;
        up.publisher.group("from the url", "one").await;
        up.publisher.group("news", "two").await;
        up.publisher.group("other", "unheard").await;
        page.messages_until("two").await;
        page.click("#groups li[data-group='news'] .leave").await;
        // It joins after it has left, so the gateway has done both.
        page.join("after").await;
        up.publisher.group("news", "unheard").await;
        up.publisher.group("after", "last").await;
        let expected = [message("group", "one"), message("group", "two"), message("group", "last")];
        assert_eq!(page.messages_until("last").await, expected);
        let address = page.js("return location.search", &[]).await;
        assert_eq!(address, "?group=from%20the%20url&group=after");
    })
    .await;
}

#[tokio::test]
async fn the_ready_made_links_and_lines_push_as_they_say() {
    with_page("", async |page, up| {
        page.join("it's news").await;
        for audience in ["everyone", "connection", "group"] {
            let url = page.attribute(&format!("[data-link={audience}]"), "href").await;
            let line = page.shown(&format!("[data-curl={audience}]")).await;
            assert_eq!(line, format!("curl '{url}'"));
            assert_eq!(fetch(&url, None).await, "ok", "{url}");
        }
        let line = page.shown("[data-curl=post]").await;
        let url = line
            .strip_prefix("curl '")
            .and_then(|rest| {
                rest.strip_suffix("' --data-binary 'hello' -H 'Content-Type: text/plain'")
            })
            .unwrap_or_else(|| panic!("another line: {line}"));
        assert_eq!(fetch(url, Some("hello")).await, "ok", "{url}");
        up.publisher.everyone("last").await;
        let expected = ["everyone", "connection", "group", "group"].map(|a| message(a, "hello"));
        let shown = page.messages_until("last").await;
        assert_eq!(shown[..4], expected);
        assert_eq!(shown.len(), 5);
    })
    .await;
}

#[tokio::test]
async fn after_an_outage_the_page_goes_on_by_itself_where_it_was() {
    with_page("", async |page, up| {
        page.join("news").await;
        up.publisher.group("news", "before").await;
        page.messages_until("before").await;
        up.restart(page.until_state("waiting")).await;
        up.publisher.group("news", "missed").await;
        page.until_state("connected").await;
        page.until_there("#groups li[data-group='news']:not(.pending)").await;
        up.publisher.group("news", "after").await;
        let expected = ["before", "missed", "after"].map(|content| message("group", content));
        assert_eq!(page.messages_until("after").await, expected);
        assert!(
            page.text("#messages .notice").await.contains("Reconnected without missing anything.")
        );
        assert_eq!(page.text("#state-detail").await, "Resumed without missing anything.");
        // The link of the old connection would push to nobody.
        let url = page.attribute("[data-link=connection]", "href").await;
        assert!(url.contains(&format!("to_worker_id={}&", page.text("#worker-id").await)), "{url}");
        assert_eq!(fetch(&url, None).await, "ok", "{url}");
        page.messages_until("hello").await;
    })
    .await;
}

#[tokio::test]
async fn a_log_that_is_lost_is_a_gap_that_the_page_shows() {
    with_page("?group=news", async |page, up| {
        up.publisher.group("news", "before").await;
        page.messages_until("before").await;
        up.restart_without_its_log(page.until_state("waiting")).await;
        page.until_state("connected").await;
        up.publisher.group("news", "after").await;
        let expected = [message("group", "before"), message("group", "after")];
        assert_eq!(page.messages_until("after").await, expected);
        let notice = page.text("#messages .gap").await;
        assert!(
            notice.contains("Events may be missing here: the broker started a new log"),
            "{notice}"
        );
        let detail = page.text("#state-detail").await;
        assert_eq!(detail, "Events may be missing: see the messages.");
    })
    .await;
}

#[tokio::test]
async fn hostile_contents_and_group_names_are_shown_as_text() {
    let hostile =
        r#"<img src=x onerror="document.title='hurt'"><script>document.title='hurt'</script>"#;
    with_page(
        "?group=%3Cimg+src%3Dx+onerror%3D%22document.title%3D%27hurt%27%22%3E",
        async |page, up| {
            page.until_there("#groups li:not(.pending)").await;
            let group = r#"<img src=x onerror="document.title='hurt'">"#;
            assert_eq!(page.text("#groups bdi").await, group);
            up.publisher.everyone(hostile).await;
            up.publisher.group(group, "last").await;
            let expected = [message("everyone", hostile), message("group", "last")];
            assert_eq!(page.messages_until("last").await, expected);
            assert_eq!(page.text("#messages .audience").await, group);
            let planted = "return document.querySelectorAll('main img, main script').length";
            assert_eq!(page.js(planted, &[]).await, 0);
            assert_eq!(page.js("return document.title", &[]).await, "Campanile");
        },
    )
    .await;
}

#[tokio::test]
async fn below_a_path_of_a_proxy_the_page_finds_all_that_it_needs() {
    with_page_below("/deep/push", async |page, up| {
        up.publisher.group("news", "heard").await;
        assert_eq!(page.messages_until("heard").await, [message("group", "heard")]);
        let shown = page.text("#gateway-url").await;
        assert!(shown.starts_with("ws://") && shown.ends_with("/deep/push/"), "{shown}");
        let line = page.shown("[data-curl=events]").await;
        assert!(line.ends_with("/deep/push/events?group=news'"), "{line}");
        let background = "return getComputedStyle(document.querySelector('.card')).borderTopStyle";
        assert_eq!(page.js(background, &[]).await, "solid", "the page has no style");
    })
    .await;
}
