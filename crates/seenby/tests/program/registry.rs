//! Who the device is, typed and shown: leases, maps, merges that are taken back, names, tags, groups, and the networks in which an
//! address means something else. Refuses to hold: which devices there are in truth (`right_number`).

use serde_json::{Value, json};

use crate::support::{Place, ZEEK_HEADER, mde, now, zeek};

const REMOTE: &str = "198.51.100.20";

/// Prevalence and mark of the one address.
#[track_caller]
fn seen(place: &Place) -> (u64, Value) {
    let body = place.run(["stats", REMOTE, "--json"]).ends(0).json();
    (body["organizationPrevalence"].as_u64().expect("a number"), body["bound"].clone())
}

fn device_info(id: &str, properties: Value) -> String {
    let mut properties = properties;
    properties["Timestamp"] = json!(now().to_string());
    properties["DeviceId"] = json!(id);
    format!("{}\n", json!({ "category": "AdvancedHunting-DeviceInfo", "properties": properties }))
}

#[test]
fn a_map_says_whose_an_address_was() {
    let place = Place::new();
    let at = now().minus(600);
    place.ingest("mde.json", mde(at, "a1", "pc-1.example.org", REMOTE));
    place.ingest("conn.log", format!("{ZEEK_HEADER}{}", zeek(at, "10.1.2.3", REMOTE)));
    assert_eq!(seen(&place), (2, json!("at_most")));
    let shown = place.run(["stats", REMOTE]).ends(0).stdout;
    assert!(shown.contains("at most 2 devices") && shown.contains("DHCP leases"), "{shown}");
    let map =
        |host: &str| format!("address,host,from,until\n10.1.2.3,{host},{},{}\n", at.minus(60), at.plus(60));
    let counts = place.ingest("map.csv", map("pc-1.example.org"));
    assert_eq!(counts["ignored"], json!({ "header": 1, "registry": 1 }));
    assert_eq!(seen(&place), (1, Value::Null));
    let device = place.run(["device", "show", "a1", "--json"]).ends(0).json();
    let lease = &device["leases"][0];
    assert_eq!(
        (&lease["of"]["name"], &lease["to"]["name"]),
        (&json!("10.1.2.3"), &json!("pc-1.example.org"))
    );
    assert_eq!(
        (&lease["since"], &lease["until"]),
        (&json!(at.minus(60).to_string()), &json!(at.plus(60).to_string()))
    );
    let shown = place.run(["device", "show", "a1"]).ends(0).stdout;
    assert!(shown.contains("leased") && shown.contains("10.1.2.3 to pc-1.example.org"), "{shown}");
    let refused =
        place.ingest("map.csv", format!("address,host,from,until\n10.1.2.3,pc,{},\n", now().plus(1_000)));
    assert_eq!(refused["refused"], json!({ "in_future": 1 }));
    let path = place.write("map.csv", map("pc-1"));
    let explained = place.run(["ingest", "--explain", path.to_str().expect("UTF-8")]).ends(0).stdout;
    assert!(explained.contains("tells who a device is"), "{explained}");
}

#[test]
fn a_unique_network_and_a_gateway() {
    let place = Place::new();
    let at = now().minus(600);
    let shown = place.run(["device", "networks"]).ends(0).stdout;
    assert!(
        shown.contains("One machine at a time: none") && shown.contains("NAT gateways:          none"),
        "{shown}"
    );
    place.run(["device", "networks", "--unique", "10.1.2/24"]).ends(2);
    let told = place.run(["device", "networks", "--unique", "10.1.2.0/24", "--json"]).ends(0).json();
    assert_eq!(told["unique_networks"], json!(["10.1.2.0/24"]));
    // The records of the agent have 10.1.2.3 as their LocalIP.
    place.ingest("mde.json", mde(at, "a1", "pc-1.example.org", REMOTE));
    let rows = [zeek(at.minus(1), "10.1.2.3", REMOTE), zeek(at.plus(1), "10.1.2.3", REMOTE)];
    place.ingest("conn.log", format!("{ZEEK_HEADER}{}", rows[1]));
    assert_eq!(seen(&place), (1, Value::Null));
    place.ingest("conn.log", format!("{ZEEK_HEADER}{}", rows[0]));
    assert_eq!(seen(&place), (2, json!("at_most")), "nobody had carried it yet");
    place.run(["device", "networks", "--nat", "10.1.2.3"]).ends(0);
    assert_eq!(seen(&place), (2, json!("at_least")));
    let shown = place.run(["stats", REMOTE]).ends(0).stdout;
    assert!(shown.contains("at least 2 devices") && shown.contains("NAT gateway"), "{shown}");
    let none =
        place.run(["device", "networks", "--nat", "none", "--unique", "none", "--json"]).ends(0).json();
    assert_eq!((&none["nat_gateways"], &none["unique_networks"]), (&json!([]), &json!([])));
    assert_eq!(seen(&place), (2, json!("at_most")));

    let settings = place.write("settings.toml", "[ingest]\nnat_gateways = [\"10.1.2.3\"]\n");
    let settings = settings.to_str().expect("UTF-8");
    let told = place.run(["stats", REMOTE, "--json", "--settings", settings]).ends(0).json();
    assert_eq!(told["bound"], json!("at_least"));

    let place = Place::new();
    let path = place.write("mde.json", mde(at, "a1", "pc-1.example.org", REMOTE));
    let path = path.to_str().expect("UTF-8");
    place.run(["ingest", path, "--unique-networks", "10.0.0.0/8"]).ends(0);
    place.ingest("conn.log", format!("{ZEEK_HEADER}{}", rows[1]));
    assert_eq!(seen(&place), (1, Value::Null));
}

#[test]
fn hardware_addresses_count_where_they_are_the_devices_own() {
    let at = now().minus(600);
    let header = ZEEK_HEADER
        .replace("\tconn_state\n", "\tconn_state\torig_l2_addr\n")
        .replace("string\n", "string\tstring\n");
    let row = |address: &str, mac: &str| zeek(at, address, REMOTE).replace("SF\n", &format!("SF\t{mac}\n"));
    let (own, router) = ("00:00:5e:00:53:01", "00:00:5e:00:53:fe");
    let log = format!(
        "{header}{}{}{}{}",
        row("10.1.2.3", own),
        row("10.1.2.4", own),
        row("10.9.0.1", router),
        row("10.9.0.2", router)
    );
    // Nobody says where the sensor stands: four addresses.
    let place = Place::new();
    place.ingest("conn.log", log.clone());
    assert_eq!(seen(&place), (4, json!("at_most")));

    let place = Place::new();
    let path = place.write("conn.log", log.clone());
    let path = path.to_str().expect("UTF-8");
    let networks = ["ingest", path, "--mac-networks", "10.1.2.0/24", "--unique-networks", "10.1.2.4/32"];
    place.run(networks).ends(0);
    assert_eq!(seen(&place), (3, json!("at_most")));
    let shown = place.run(["device", "list"]).ends(0).stdout;
    assert!(shown.contains(own) && shown.contains("10.9.0.1") && !shown.contains("10.1.2.3"), "{shown}");
    // In a unique network the record also says whose the address is.
    place.ingest("conn.log", format!("{ZEEK_HEADER}{}", zeek(at.plus(1), "10.1.2.4", REMOTE)));
    assert_eq!(seen(&place), (3, json!("at_most")));

    let place = Place::new();
    let path = place.write("conn.log", log);
    let path = path.to_str().expect("UTF-8");
    let settings = place.write("seenby.toml", "[ingest]\nmac_networks = [\"10.0.0.0/8\"]\n");
    place.run(["ingest", path, "--settings", settings.to_str().expect("UTF-8")]).ends(0);
    assert_eq!(seen(&place), (2, json!("at_most")));
}

/// What is typed on a folder, and on one that a server holds.
fn check_words(place: &Place) {
    let at = now().minus(600);
    let log = [mde(at, "a1", "pc-1.example.org", REMOTE), mde(at, "b2", "pc-2.example.org", REMOTE)].concat();
    place.ingest("mde.json", log);
    assert_eq!(seen(place), (2, Value::Null));
    let log = device_info("a1", json!({ "MergedToDeviceId": "b2", "MachineGroup": "Desks" }));
    let counts = place.ingest("info.json", log.clone());
    assert_eq!(counts["ignored"], json!({ "registry": 1 }));
    assert_eq!(seen(place), (1, Value::Null));
    let device = place.run(["device", "show", "pc-1.example.org", "--json"]).ends(0).json();
    assert_eq!((&device["name"], &device["machine_group"]), (&json!("b2"), &json!("Desks")));

    let asked = place.run(["device", "split", "pc-1.example.org"]).ends(5).stderr;
    assert!(asked.contains("pc-1.example.org") && asked.contains("--yes"), "{asked}");
    let alone = place.run(["device", "split", "pc-1.example.org", "--yes", "--json"]).ends(0).json();
    assert_eq!(alone["name"], "a1");
    assert_eq!(seen(place), (2, Value::Null));
    // An operator's word outlasts the product's.
    place.ingest("info.json", log);
    assert_eq!(seen(place), (2, Value::Null));
    let again = place.run(["device", "split", "a1", "--yes"]).ends(2);
    assert!(again.stderr.contains("was not merged"), "{}", again.stderr);
    place.run(["device", "merge", "a1", "b2", "--yes"]).ends(0);
    assert_eq!(seen(place), (1, Value::Null));
    place.run(["device", "split", "a1", "--yes"]).ends(0);

    let named = place.run(["device", "rename", "pc-1.example.org", "Reception \u{1b}[31m"]).ends(2);
    assert!(named.stderr.contains("control characters"), "{}", named.stderr);
    let named = place.run(["device", "rename", "pc-1.example.org", "Reception", "--json"]).ends(0).json();
    assert_eq!(named["display_name"], "Reception");
    let tagged = place.run(["device", "tag", "a1", "vip", "finance", "--json"]).ends(0).json();
    assert_eq!(tagged["tags"], json!(["finance", "vip"]));
    let tagged = place.run(["device", "tag", "a1", "vip", "--remove", "--json"]).ends(0).json();
    assert_eq!(tagged["tags"], json!(["finance"]));
    let listed = place.run(["device", "list"]).ends(0).stdout;
    for text in ["Reception", "finance", "Desks"] {
        assert!(listed.contains(text), "{text}: {listed}");
    }
    let shown = place.run(["device", "show", "a1"]).ends(0).stdout;
    assert!(shown.contains("'Reception'") && shown.contains("finance") && shown.contains("Desks"), "{shown}");
    let named = place.run(["device", "rename", "a1", "--none", "--json"]).ends(0).json();
    assert_eq!(named["display_name"], Value::Null);
    // What another of its identities was called before it was one of them goes too.
    place.run(["device", "rename", "b2", "Old desk"]).ends(0);
    place.run(["device", "merge", "b2", "a1", "--yes"]).ends(0);
    let named = place.run(["device", "rename", "a1", "New desk", "--json"]).ends(0).json();
    assert_eq!((&named["name"], &named["display_name"]), (&json!("a1"), &json!("New desk")));
    let named = place.run(["device", "rename", "a1", "--none", "--json"]).ends(0).json();
    assert_eq!(named["display_name"], Value::Null);
    place.run(["device", "tag", "nobody", "vip"]).ends(2);
    place.run(["device", "rename", "a1"]).ends(2);
}

#[test]
fn words_of_an_operator_and_of_the_product() {
    check_words(&Place::new());
    let place = Place::new();
    place.run(["init"]).ends(0);
    let server = place.serve();
    check_words(&place);
    place.run(["device", "networks", "--nat", "10.0.0.1"]).ends(0);
    drop(server);
    let told = place.run(["device", "networks", "--json"]).ends(0).json();
    assert_eq!(told["nat_gateways"], json!(["10.0.0.1/32"]), "it was durable");
}
