use super::*;

fn version(counter: i64) -> DataVersion {
    DataVersion { counter, timestamp: 7, ..DataVersion::default() }
}

fn topics(all: &[(&str, i32)]) -> BTreeMap<String, TopicConfig> {
    let topic = |&(name, perm)| (String::from(name), TopicConfig::new(name, 4, perm));
    all.iter().map(topic).collect()
}

fn broker(name: &str, id: i64, address: &str, conn: ConnId) -> Registration {
    Registration {
        cluster: "C1".into(),
        broker_name: name.into(),
        broker_id: id,
        address: address.into(),
        ha_address: format!("{address}-ha"),
        version: version(1),
        topics: topics(&[("T", 6)]),
        filter_servers: Vec::new(),
        conn,
    }
}

fn perm(routes: &RouteInfo) -> i32 {
    routes.route("T").expect("a route").queue_datas[0].perm
}

#[test]
fn topics_follow_the_data_version_of_the_master() {
    let mut routes = RouteInfo::default();
    let mut master = broker("a", 0, "h:1", 1);
    routes.register(100, &master).expect("first");
    assert_eq!(perm(&routes), 6);
    master.topics = topics(&[("T", 4), ("U", 6)]);
    routes.register(200, &master).expect("same version");
    assert_eq!(perm(&routes), 6);
    assert!(routes.route("U").is_none());
    master.version = version(2);
    master.topics = topics(&[("U", 6)]);
    routes.register(300, &master).expect("new version");
    assert_eq!(perm(&routes), 6, "topics missing from a registration are kept");
    assert!(routes.route("U").is_some());
}

#[test]
fn slaves_learn_their_master_and_never_change_topics() {
    let mut routes = RouteInfo::default();
    let slave = broker("a", 1, "h:2", 2);
    assert_eq!(routes.register(0, &slave).expect("slave"), Registered::default());
    assert!(routes.route("T").is_none());
    let master = broker("a", 0, "h:1", 1);
    assert_eq!(routes.register(0, &master).expect("master"), Registered::default());
    let answer = routes.register(0, &slave).expect("slave");
    assert_eq!(answer.master_address.as_deref(), Some("h:1"));
    assert_eq!(answer.ha_address.as_deref(), Some("h:1-ha"));
}

#[test]
fn a_slave_promoted_keeps_one_address() {
    let mut routes = RouteInfo::default();
    routes.register(0, &broker("a", 0, "h:1", 1)).expect("master");
    routes.register(0, &broker("a", 1, "h:2", 2)).expect("slave");
    routes.register(0, &broker("a", 0, "h:2", 2)).expect("promoted");
    let info = routes.cluster_info();
    let addresses = &info.broker_addr_table["a"].broker_addrs;
    assert_eq!(addresses.iter().collect::<Vec<_>>(), [(&0, &"h:2".to_string())]);
}

#[test]
fn a_closed_connection_removes_what_it_registered() {
    let mut routes = RouteInfo::default();
    routes.register(0, &broker("a", 0, "h:1", 1)).expect("master");
    routes.register(0, &broker("a", 1, "h:2", 2)).expect("slave");
    assert_eq!(routes.remove_conn(1), ["h:1"]);
    let route = routes.route("T").expect("the topic stays while a slave lives");
    assert_eq!(route.broker_datas[0].broker_addrs.len(), 1);
    let answer = routes.register(0, &broker("a", 1, "h:2", 2)).expect("slave");
    assert_eq!(answer, Registered::default());
    assert_eq!(routes.remove_conn(2), ["h:2"]);
    assert!(routes.route("T").is_none());
    assert!(routes.cluster_info().cluster_addr_table.is_empty());
    assert_eq!(routes.queue_entries, 0);
}

#[test]
fn an_old_connection_of_a_broker_removes_nothing() {
    let mut routes = RouteInfo::default();
    routes.register(0, &broker("a", 0, "h:1", 1)).expect("old connection");
    routes.register(0, &broker("a", 0, "h:1", 2)).expect("new connection");
    assert!(routes.remove_conn(1).is_empty());
    assert!(routes.route("T").is_some());
}

#[test]
fn silence_expires() {
    let mut routes = RouteInfo::default();
    routes.register(1000, &broker("a", 0, "h:1", 1)).expect("master");
    assert!(routes.expire(121_000, 120_000).is_empty());
    routes.touch(1001, "h:1");
    assert!(routes.expire(121_001, 120_000).is_empty());
    assert_eq!(routes.expire(121_002, 120_000), [("h:1".to_string(), 1)]);
    assert!(routes.route("T").is_none());
}

#[test]
fn unregister_is_by_id() {
    let mut routes = RouteInfo::default();
    routes.register(0, &broker("a", 0, "h:1", 1)).expect("master");
    routes.unregister("a", 3, "h:9");
    routes.unregister("nobody", 0, "h:9");
    assert!(routes.route("T").is_some());
    routes.unregister("a", 0, "h:1");
    assert!(routes.route("T").is_none());
    assert_eq!(routes.system_topics(), (Vec::new(), None));
}

#[test]
fn routes_are_sorted_by_broker_name() {
    let mut routes = RouteInfo::default();
    for name in ["c", "a", "b"] {
        let address = format!("{name}:1");
        let mut registration = broker(name, 0, &address, 1);
        registration.filter_servers = vec![format!("{name}:f")];
        routes.register(0, &registration).expect("broker");
    }
    let route = routes.route("T").expect("route");
    let queues: Vec<_> = route.queue_datas.iter().map(|q| q.broker_name.as_str()).collect();
    let brokers: Vec<_> = route.broker_datas.iter().map(|b| b.broker_name.as_str()).collect();
    assert_eq!((queues, brokers), (vec!["a", "b", "c"], vec!["a", "b", "c"]));
    assert_eq!(route.filter_server_table["b:1"], ["b:f"]);
}

#[test]
fn permissions_last_until_the_next_version() {
    let mut routes = RouteInfo::default();
    let mut master = broker("a", 0, "h:1", 1);
    master.topics.extend(topics(&[("U", 4)]));
    routes.register(0, &master).expect("master");
    assert_eq!(routes.change_perm("a", |perm| perm & !2), 2);
    assert_eq!(routes.change_perm("b", |perm| perm & !2), 0);
    assert_eq!(perm(&routes), 4);
    routes.register(0, &master).expect("same version");
    assert_eq!(perm(&routes), 4);
    master.version = version(2);
    routes.register(0, &master).expect("new version");
    assert_eq!(perm(&routes), 6);
}

#[test]
fn topics_are_deleted_by_cluster_or_entirely() {
    let mut routes = RouteInfo::default();
    routes.register(0, &broker("a", 0, "h:1", 1)).expect("C1");
    let mut other = broker("b", 0, "h:2", 2);
    other.cluster = "C2".into();
    routes.register(0, &other).expect("C2");
    assert_eq!(routes.topics_of_cluster("C2"), ["T"]);
    assert!(routes.topics_of_cluster("C3").is_empty());
    routes.delete_topic("T", Some("C3"));
    routes.delete_topic("T", Some("C2"));
    assert!(routes.topics_of_cluster("C2").is_empty());
    assert_eq!(routes.topics(), ["T"]);
    routes.delete_topic("T", None);
    routes.delete_topic("T", None);
    assert!(routes.topics().is_empty());
    assert_eq!(routes.queue_entries, 0);
}

#[test]
fn unit_flags_select_topics() {
    let mut routes = RouteInfo::default();
    let mut master = broker("a", 0, "h:1", 1);
    master.topics = topics(&[("plain", 6), ("unit", 6), ("sub", 6), ("both", 6)]);
    for (name, sys_flag) in [("unit", 1), ("sub", 2), ("both", 3)] {
        master.topics.get_mut(name).expect("made above").topic_sys_flag = sys_flag;
    }
    routes.register(0, &master).expect("master");
    assert_eq!(routes.topics_of_unit(UnitTopics::Unit), ["both", "unit"]);
    assert_eq!(routes.topics_of_unit(UnitTopics::UnitSub), ["both", "sub"]);
    assert_eq!(routes.topics_of_unit(UnitTopics::UnitSubOnly), ["sub"]);
}

#[test]
fn limits_refuse_the_whole_registration() {
    let mut routes = RouteInfo::default();
    for n in 0..limits::NAMESRV_BROKERS_MAX {
        let address = format!("h:{n}");
        let registration =
            Registration { topics: topics(&[]), ..broker("a", n as i64, &address, 1) };
        routes.register(0, &registration).expect("within the limit");
    }
    let error = routes.register(0, &broker("b", 0, "other:1", 1)).expect_err("one too many");
    assert!(error.to_string().contains("at most"), "{error}");
    assert!(routes.route("T").is_none());
    routes.register(0, &broker("a", 0, "h:0", 1)).expect("a known broker is served");
}
