use serde_json::json;

use super::*;

fn seen(cluster: &Value) -> Seen {
    Seen::read(cluster.to_string()).expect("a cluster")
}

fn url() -> ServerUrl {
    "http://127.0.0.1:4247".parse().expect("a URL")
}

fn gateway(instance: usize, deliveries: u64) -> Value {
    json!({
        "instance": format!("{instance:016x}"), "address": "10.0.0.1:9", "asked": true, "uptime": 61.0,
        "hindrance": null, "connections": { "plain": 1, "v1": 20, "events": 300 },
        "workers": [{ "outbox_bytes": 1024 }, { "outbox_bytes": 1024 }], "lag": { "events": 7 },
        "totals": { "opened": 321, "closed": { "1000": deliveries, "other": 2 }, "deliveries": deliveries },
        "delivery_seconds": { "buckets": [[0.001, 5]], "count": 5 }, "cpu_seconds": 1.0,
        "memory_bytes": 30 << 20,
    })
}

fn cluster(time: f64, gateways: usize, deliveries: u64, sentence: &str) -> Value {
    json!({
        "time": time,
        "broker": {
            "version": "0.1.0", "uptime": 3_600.0, "position": "ab-5", "durability": "disk", "links": 3,
            "log": { "events": 5, "bytes": 300, "max_bytes": 64 << 20, "oldest_age": 3.2 },
            "totals": { "accepted": deliveries },
        },
        "gateways": (0..gateways).map(|n| gateway(n, deliveries)).collect::<Vec<_>>(),
        "publishers": [{
            "instance": "aaaaaaaaaaaaaaaa", "asked": true, "hindrance": "disk",
            "totals": { "pushes": [
                { "kind": "push", "result": "200", "count": deliveries },
                { "kind": "push", "result": "400", "count": 4 * deliveries },
            ] },
            "refused": [
                { "time": time - 5.0, "status": 413, "kind": "push", "key": "shop", "sentence": "older", "count": 1 },
                { "time": time, "status": 400, "kind": "batch", "key": null, "sentence": sentence, "count": 12 },
            ],
        }],
        "silent": [{ "instance": "bbbbbbbbbbbbbbbb", "role": "gateway", "address": "10.0.0.3:1", "reason": "silent" }],
    })
}

fn line<'a>(picture: &'a str, part: &str) -> &'a str {
    let line = picture.lines().find(|line| line.contains(part));
    line.unwrap_or_else(|| panic!("{part} is not in\n{picture}"))
}

fn cells(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[test]
fn a_picture_has_the_rates_of_every_process() {
    let before = seen(&cluster(100.0, 2, 10, "no"));
    let now = seen(&cluster(102.0, 2, 30, "no"));
    let picture = picture(&url(), Some(&before), &now, None);
    assert!(line(&picture, "BROKER").contains("up 1h00m  position ab-5  durability disk"));
    assert!(line(&picture, "per second").contains("accepted 10  repeated -"));
    let gateway = cells(line(&picture, "0000000000000001"));
    let expected =
        "0000000000000001|10.0.0.1:9|ready|1m01s|321|10|-|7|2 KiB|-|0%|30 MiB|0|10|-|1|20|300";
    assert_eq!(gateway.join("|"), expected);
    let publisher = cells(line(&picture, "aaaaaaaaaaaaaaaa"));
    assert_eq!(publisher[..4], ["aaaaaaaaaaaaaaaa", "-", "disk", "-"]);
    assert_eq!(publisher[4..6], ["50", "40"]);
    let refused: Vec<_> = picture.lines().skip_while(|line| !line.contains("REASON")).collect();
    assert_eq!(cells(refused[1]), ["0s ago", "400", "12", "batch", "-", "no"]);
    assert_eq!(cells(refused[2]), ["5s ago", "413", "1", "push", "shop", "older"]);
    assert_eq!(cells(line(&picture, "bbbb"))[1..], ["10.0.0.3:1", "gateway", "silent"]);
}

#[test]
fn a_first_look_has_no_rates_and_an_empty_cluster_no_numbers() {
    let now = seen(&cluster(100.0, 1, 10, "no"));
    assert!(picture(&url(), None, &now, None).contains("accepted -"));
    let empty = picture(&url(), None, &seen(&json!({})), None);
    assert!(empty.contains("it has not said how it fares"), "{empty}");
    let earlier = json!({ "gateways": [{ "instance": "c", "asked": false, "version": null }] });
    let earlier = picture(&url(), None, &seen(&earlier), None);
    assert_eq!(cells(line(&earlier, "not asked"))[..4], ["c", "-", "not asked", "-"]);
}

#[test]
fn what_others_have_written_stays_on_its_line() {
    let hostile = "\u{1b}[2Ja\nGATEWAY\tb\u{9b}";
    let now = seen(&cluster(100.0, 1, 10, hostile));
    let picture = picture(&url(), None, &now, None);
    assert!(picture.contains("\\u{1b}[2Ja GATEWAY b\\u{9b}"), "{picture}");
    assert!(!picture.chars().any(|c| c.is_control() && c != '\n'));
}

#[test]
fn fifty_gateways_fit_a_terminal() {
    let now = seen(&cluster(100.0, 50, 10, &"long ".repeat(60)));
    for (columns, rows) in [(80, 24), (200, 50), (20, 5), (1, 1)] {
        let picture = picture(&url(), None, &now, Some(Size { columns, rows }));
        let lines: Vec<_> = picture.lines().collect();
        assert!(lines.len() <= rows, "{} lines for {rows}\n{picture}", lines.len());
        assert!(lines.iter().all(|line| line.chars().count() <= columns));
        if rows >= 24 {
            for part in ["BROKER", "GATEWAY", "more", "PUBLISHER", "REFUSED "] {
                line(&picture, part);
            }
        }
    }
}
