//! Says of each request whether the official library accepts it: `verify cases.json`.

use base64::Engine as _;
use standardwebhooks::Webhook;

fn main() {
    let file = std::env::args().nth(1).expect("a file of cases");
    let text = std::fs::read_to_string(file).expect("it can be read");
    let cases: Vec<serde_json::Value> = serde_json::from_str(&text).expect("it is JSON");
    for case in &cases {
        let body = base64::engine::general_purpose::STANDARD.decode(case["body"].as_str().expect("a body")).expect("base64");
        let mut headers = http::HeaderMap::new();
        for (name, value) in case["headers"].as_object().expect("headers") {
            let name: http::HeaderName = name.parse().expect("a name");
            headers.insert(name, value.as_str().expect("a text").parse().expect("a value"));
        }
        let webhook = Webhook::new(case["secret"].as_str().expect("a secret")).expect("a secret");
        println!("{}", if webhook.verify(&body, &headers).is_ok() { "accepted" } else { "refused" });
    }
}
