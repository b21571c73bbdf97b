//! A headless Chromium that shows a page, such as that of a whole `campanile up`.

mod prefix;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use campanile_harness::{Process, PushApi, eventually, within};
use fantoccini::{Client, Locator};
use futures_util::FutureExt as _;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A running `campanile up` that keeps its log on disk.
pub struct Up {
    process: Process,
    data: TempDir,
    addresses: [SocketAddr; 3],
    pub gateway: SocketAddr,
    pub publisher: PushApi,
}

impl Up {
    async fn start(addresses: [SocketAddr; 3], data: TempDir) -> Self {
        Self::start_with(&[], addresses, data).await
    }

    /// Starts it with more flags.
    async fn start_with(flags: &[&str], addresses: [SocketAddr; 3], data: TempDir) -> Self {
        let listen = addresses.map(|address| address.to_string());
        let args = [
            "up",
            "--data-dir",
            data.path().to_str().expect("UTF-8"),
            "--broker-listen",
            &listen[0],
            "--gateway-listen",
            &listen[1],
            "--publisher-listen",
            &listen[2],
        ];
        let process = Process::start(&[&args, flags].concat());
        let mut addresses = addresses;
        for (service, address) in ["broker", "gateway", "publisher"].iter().zip(&mut addresses) {
            let line = process.said(&format!("  {service}  ")).await;
            *address = line.split(' ').next_back().and_then(|a| a.parse().ok()).expect("listens");
        }
        let [_, gateway, publisher] = addresses;
        Self { process, data, addresses, gateway, publisher: PushApi::new(publisher) }
    }

    /// Kills it, awaits `meanwhile`, and starts another one on the same ports.
    pub async fn restart(&mut self, meanwhile: impl Future<Output = ()>) {
        self.process.kill().await;
        meanwhile.await;
        let data = std::mem::replace(&mut self.data, directory());
        *self = Self::start(self.addresses, data).await;
    }

    /// As [`restart`](Self::restart), without the log.
    pub async fn restart_without_its_log(&mut self, meanwhile: impl Future<Output = ()>) {
        let lost = std::mem::replace(&mut self.data, directory());
        self.restart(meanwhile).await;
        drop(lost);
    }
}

fn directory() -> TempDir {
    TempDir::new().expect("a temporary directory")
}

/// A page in a browser of its own.
pub struct Page {
    browser: Client,
}

/// Starts a cluster and opens its page in a browser, with a query such as `?group=news`.
pub async fn with_page(query: &str, check: impl AsyncFnOnce(&Page, &mut Up)) {
    let mut up = Up::start([SocketAddr::from(([127, 0, 0, 1], 0)); 3], directory()).await;
    with_page_of(&format!("http://{}/{query}", up.gateway), async |page| {
        page.until_state("connected").await;
        check(page, &mut up).await;
    })
    .await;
}

/// As [`with_page`], with a settings file and without waiting for the page to be connected.
pub async fn with_page_and_settings(settings: &Path, check: impl AsyncFnOnce(&Page, &mut Up)) {
    let flags = ["--config", settings.to_str().expect("UTF-8")];
    let addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); 3];
    let mut up = Up::start_with(&flags, addresses, directory()).await;
    with_page_of(&format!("http://{}/", up.gateway), async |page| {
        check(page, &mut up).await;
    })
    .await;
}

/// As [`with_page`], through a proxy that has the gateway below a path such as `/push` only.
pub async fn with_page_below(path: &'static str, check: impl AsyncFnOnce(&Page, &mut Up)) {
    let mut up = Up::start([SocketAddr::from(([127, 0, 0, 1], 0)); 3], directory()).await;
    let proxy = prefix::proxy(up.gateway, path).await;
    with_page_of(&format!("http://{proxy}{path}/?group=news"), async |page| {
        page.until_state("connected").await;
        check(page, &mut up).await;
    })
    .await;
}

/// Opens any page in a browser, and ends the browser even if the check fails.
pub async fn with_page_of(url: &str, check: impl AsyncFnOnce(&Page)) {
    with_page_by(Driver::start(|_| {}), url, check).await;
}

/// As [`with_page_of`], in a browser that trusts the authority in a file.
pub async fn with_trusting_page_of(authority: &Path, url: &str, check: impl AsyncFnOnce(&Page)) {
    let home = directory();
    let store = home.path().join(".pki/nssdb");
    std::fs::create_dir_all(&store).expect("a directory");
    let store = format!("sql:{}", store.display());
    let certutil = |args: &[&str]| {
        let mut command = Command::new("certutil");
        command.args(["-d", &store]).args(args).stdin(Stdio::null());
        let status = command.status().expect("certutil is installed (Debian: libnss3-tools)");
        assert!(status.success(), "certutil {args:?}");
    };
    certutil(&["-N", "--empty-password"]);
    let file = authority.to_str().expect("UTF-8");
    certutil(&["-A", "-n", "authority of a test", "-t", "C,,", "-i", file]);
    let driver = Driver::start(|command| _ = command.env("HOME", home.path()));
    with_page_by(driver, url, check).await;
}

async fn with_page_by(driver: Driver, url: &str, check: impl AsyncFnOnce(&Page)) {
    let page = Page { browser: driver.browser().await };
    let checked = AssertUnwindSafe(async {
        page.browser.goto(url).await.expect("the page");
        check(&page).await;
    });
    let checked = checked.catch_unwind().await;
    let closed = within("the browser closes", page.browser.close()).await;
    drop(driver);
    if let Err(panic) = checked {
        resume_unwind(panic);
    }
    closed.expect("the browser closes");
}

impl Page {
    /// Runs the body of a JavaScript function, and returns its value.
    pub async fn js(&self, body: &str, arguments: &[&str]) -> Value {
        let arguments = arguments.iter().map(|argument| json!(argument)).collect();
        within("a script of the page", self.browser.execute(body, arguments)).await.expect(body)
    }

    /// The text of an element, visible or not; empty if there is no such element.
    pub async fn text(&self, css: &str) -> String {
        let body = "return document.querySelector(arguments[0])?.textContent ?? ''";
        self.js(body, &[css]).await.as_str().expect("a text").to_owned()
    }

    /// The visible text of an element.
    pub async fn shown(&self, css: &str) -> String {
        self.find(css).await.text().await.expect("an element")
    }

    /// An attribute of an element.
    pub async fn attribute(&self, css: &str, name: &str) -> String {
        self.find(css).await.attr(name).await.expect("an element").unwrap_or_default()
    }

    pub async fn click(&self, css: &str) {
        self.find(css).await.click().await.expect(css);
    }

    /// Replaces the text of a field, key by key.
    pub async fn fill(&self, css: &str, text: &str) {
        let field = self.find(css).await;
        field.clear().await.expect(css);
        field.send_keys(text).await.expect(css);
    }

    pub async fn select(&self, css: &str, value: &str) {
        self.find(css).await.select_by_value(value).await.expect(css);
    }

    pub async fn until_state(&self, state: &str) {
        let what = format!("the page is {state}");
        eventually(&what, async || {
            (self.attribute("#state", "data-state").await == state).then_some(())
        })
        .await;
    }

    /// Presses keys in the element that has the focus.
    pub async fn press(&self, keys: &str) {
        let focused = within("the focus", self.browser.active_element()).await.expect("a focus");
        focused.send_keys(keys).await.expect("keys");
    }

    /// Waits until the text of an element contains another, and returns it.
    pub async fn until_text(&self, css: &str, part: &str) -> String {
        eventually(&format!("{css} says {part:?}"), async || {
            let text = self.text(css).await;
            text.contains(part).then_some(text)
        })
        .await
    }

    /// Waits for an element.
    pub async fn until_there(&self, css: &str) {
        eventually(css, async || {
            let found = self.js("return !!document.querySelector(arguments[0])", &[css]).await;
            (found == json!(true)).then_some(())
        })
        .await;
    }

    /// The audience and the content of the visible events, the oldest first.
    pub async fn messages(&self) -> Vec<(String, String)> {
        let body = "return [...document.querySelectorAll('#messages .message')].reverse().map(
            (item) => [item.dataset.audience, item.querySelector('.content').textContent])";
        serde_json::from_value(self.js(body, &[]).await).expect("pairs of texts")
    }

    /// The events up to and with the first of this content.
    pub async fn messages_until(&self, last: &str) -> Vec<(String, String)> {
        eventually(&format!("{last:?} is shown"), async || {
            let messages = self.messages().await;
            messages.iter().any(|(_, content)| content == last).then_some(messages)
        })
        .await
    }

    /// Joins a group through the form.
    pub async fn join(&self, group: &str) {
        self.fill("#join-group", group).await;
        self.click("#join-submit").await;
        self.until_there(&format!("#groups li[data-group=\"{group}\"]:not(.pending)")).await;
    }

    /// Pushes through the form, and returns the outcome and the sentence that it shows.
    pub async fn push(&self, content: &str) -> (String, String) {
        self.fill("#push-content", content).await;
        self.submit().await
    }

    /// Submits the form as it is.
    pub async fn submit(&self) -> (String, String) {
        self.js("delete document.querySelector('#push-result').dataset.outcome", &[]).await;
        self.click("#push-submit").await;
        eventually("the result of a push", async || {
            let outcome = self.attribute("#push-result", "data-outcome").await;
            let is_there = !outcome.is_empty() && outcome != "waiting";
            if is_there { Some((outcome, self.text("#push-result").await)) } else { None }
        })
        .await
    }

    async fn find(&self, css: &str) -> fantoccini::elements::Element {
        let found = within(css, self.browser.find(Locator::Css(css))).await;
        found.unwrap_or_else(|error| panic!("{css}: {error}"))
    }
}

/// A chromedriver on a free port; killed when it is dropped.
struct Driver {
    child: Child,
    url: String,
    profile: TempDir,
}

impl Driver {
    fn start(change: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped());
        change(&mut command);
        let mut child =
            command.spawn().expect("chromedriver is installed (Debian: chromium-driver)");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let port = lines.find_map(|line| {
            let line = line.expect("text");
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        // Its output must always be read, or it would block.
        std::thread::spawn(move || lines.for_each(drop));
        let url = format!("http://127.0.0.1:{}", port.expect("chromedriver starts"));
        Self { child, url, profile: directory() }
    }

    async fn browser(&self) -> Client {
        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &format!("--user-data-dir={}", self.profile.path().display()),
        ];
        let capabilities = json!({ "goog:chromeOptions": { "args": args } });
        let capabilities = capabilities.as_object().expect("an object").clone();
        let connector = HttpConnector::new();
        let browser = Client::with_capabilities_and_connector(&self.url, &capabilities, connector);
        within("the browser starts", browser).await.expect("a browser")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
