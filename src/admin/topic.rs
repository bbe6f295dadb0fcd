//! Commands on topics: updateTopic, topicRoute, topicStatus, topicList.

use super::options::{Args, Opt};
use super::text::{self, out, outln};
use crate::base::{Error, Result, json};
use crate::client::Admin;
use crate::message::topic::{DLQ_PREFIX, RETRY_PREFIX};
use crate::protocol::body::route::{BrokerData, QueueData, TopicRouteData};
use crate::protocol::body::topic::TopicConfig;
use crate::protocol::code::response;

/// Namespace of the KV table that makes topics ordered.
const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// Options of updateTopic.
pub const UPDATE: &[Opt] = &[
    Opt::value("b", "brokerAddr", "create topic to which broker").one_of(),
    Opt::value("c", "clusterName", "create topic to which cluster").one_of(),
    Opt::value("t", "topic", "topic name").required(),
    Opt::value("r", "readQueueNums", "set read queue nums"),
    Opt::value("w", "writeQueueNums", "set write queue nums"),
    Opt::value("p", "perm", "set topic's permission(2|4|6), intro[2:W 4:R; 6:RW]"),
    Opt::value("o", "order", "set topic's order(true|false)"),
    Opt::value("u", "unit", "is unit topic (true|false)"),
    Opt::value("s", "hasUnitSub", "has unit sub (true|false)"),
];

/// Options of topicRoute.
pub const ROUTE: &[Opt] = &[
    Opt::value("t", "topic", "topic name").required(),
    Opt::flag("l", "list", "Use list format to print data"),
];

/// Options of topicStatus.
pub const STATUS: &[Opt] = &[Opt::value("t", "topic", "topic name").required()];

/// Options of topicList.
pub const LIST: &[Opt] = &[Opt::flag("c", "clusterModel", "clusterModel")];

/// Creates or changes a topic on one broker or on every master of a cluster.
pub fn update(admin: &Admin, args: &Args) -> Result<()> {
    let config = TopicConfig {
        topic_name: args.required("t").to_string(),
        read_queue_nums: args.number("r", 8)?,
        write_queue_nums: args.number("w", 8)?,
        perm: args.number("p", 6)?,
        topic_sys_flag: i32::from(args.is_true("u")) | (i32::from(args.is_true("s")) << 1),
        order: args.is_true("o"),
        ..TopicConfig::default()
    };
    if let Some(broker) = args.get("b") {
        admin.update_topic(broker, &config)?;
        if config.order {
            let value = order_one(admin, broker, &config)?;
            out!("set broker orderConf. isOrder=true, orderConf=[{value}]");
        }
        outln!("create topic to {broker} success.");
    } else {
        let cluster = args.required("c");
        for broker in super::cluster::masters(admin, cluster)? {
            admin.update_topic(&broker, &config)?;
            outln!("create topic to {broker} success.");
        }
        if config.order {
            let value = order_cluster(admin, cluster, &config)?;
            out!("set cluster orderConf. isOrder=true, orderConf=[{value}]");
        }
    }
    out!("{config}");
    Ok(())
}

/// Adds one broker to the topic's order configuration and returns the whole value.
fn order_one(admin: &Admin, address: &str, config: &TopicConfig) -> Result<String> {
    let info = admin.cluster_info()?;
    let owner = info
        .broker_addr_table
        .values()
        .find(|broker| broker.broker_addrs.values().any(|known| known == address));
    let Some(broker) = owner else {
        return Err(Error::Config(format!("{address} is no broker the name server knows")));
    };
    let old = match admin.get_kv(ORDER_TOPIC_CONFIG, &config.topic_name) {
        Err(Error::Refused { code: response::QUERY_NOT_FOUND, .. }) => String::new(),
        other => other?,
    };
    let own = format!("{}:", broker.broker_name);
    let mut parts: Vec<String> = old
        .split(';')
        .filter(|part| !part.is_empty() && !part.starts_with(&own))
        .map(str::to_string)
        .collect();
    parts.push(format!("{own}{}", config.write_queue_nums));
    let value = parts.join(";");
    admin.put_kv(ORDER_TOPIC_CONFIG, &config.topic_name, &value)?;
    Ok(value)
}

/// Writes the order configuration anew from all brokers of the cluster.
fn order_cluster(admin: &Admin, cluster: &str, config: &TopicConfig) -> Result<String> {
    let info = admin.cluster_info()?;
    let names = info.cluster_addr_table.get(cluster).cloned().unwrap_or_default();
    let parts: Vec<String> =
        names.iter().map(|name| format!("{name}:{}", config.write_queue_nums)).collect();
    let value = parts.join(";");
    admin.put_kv(ORDER_TOPIC_CONFIG, &config.topic_name, &value)?;
    Ok(value)
}

/// Prints who serves a topic, as JSON or as a table.
pub fn route(admin: &Admin, args: &Args) -> Result<()> {
    let route = admin.topic_route(args.required("t"))?;
    if args.has("l") {
        route_table(&route);
    } else {
        outln!("{}", json::to_pretty(&route));
    }
    Ok(())
}

fn route_table(route: &TopicRouteData) {
    let line = |[cluster, broker, addresses, read, write, perm]: [&str; 6]| {
        outln!("{cluster:<45} {broker:<32} {addresses:<50} {read:<10} {write:<11} {perm:<5}");
    };
    line(["#ClusterName", "#BrokerName", "#BrokerAddrs", "#ReadQueue", "#WriteQueue", "#Perm"]);
    let mut queues: Vec<_> = route.queue_datas.iter().collect();
    queues.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
    for queue in &queues {
        let broker = route.broker_datas.iter().find(|b| b.broker_name == queue.broker_name);
        line([
            broker.map_or("", |broker| broker.cluster.as_str()),
            &queue.broker_name,
            &broker.map(addresses).unwrap_or_default(),
            &queue.read_queue_nums.to_string(),
            &queue.write_queue_nums.to_string(),
            &queue.perm.to_string(),
        ]);
    }
    outln!("{:-<158}", "");
    let sum = |numbers: fn(&QueueData) -> i32| {
        queues.iter().map(|queue| i64::from(numbers(queue))).sum::<i64>().to_string()
    };
    line([
        "Total:",
        &route.broker_datas.len().to_string(),
        "",
        &sum(|queue| queue.read_queue_nums),
        &sum(|queue| queue.write_queue_nums),
        "",
    ]);
}

fn addresses(broker: &BrokerData) -> String {
    let ids: Vec<String> = broker.broker_addrs.keys().map(i64::to_string).collect();
    text::map(ids.iter().map(String::as_str).zip(broker.broker_addrs.values().map(String::as_str)))
}

/// Prints the offsets of every queue of a topic.
pub fn status(admin: &Admin, args: &Args) -> Result<()> {
    let line = |[broker, queue, min, max, updated]: [&str; 5]| {
        outln!("{broker:<32}  {queue:<4}  {min:<20}  {max:<20}    {updated}");
    };
    let stats = admin.topic_stats(args.required("t"))?;
    if stats.offset_table.is_empty() {
        return Err(Error::Config("Not found the topic stats info".into()));
    }
    line(["#Broker Name", "#QID", "#Min Offset", "#Max Offset", "#Last Updated"]);
    let mut rows: Vec<_> = stats.offset_table.iter().collect();
    rows.sort_by(|(a, _), (b, _)| {
        (&a.topic, &a.broker_name, a.queue_id).cmp(&(&b.topic, &b.broker_name, b.queue_id))
    });
    for (queue, offsets) in rows {
        let updated = match offsets.last_update_timestamp {
            ms if ms > 0 => text::human_time(ms),
            _ => String::new(),
        };
        line([
            text::cut(&queue.broker_name, 32),
            &queue.queue_id.to_string(),
            &offsets.min_offset.to_string(),
            &offsets.max_offset.to_string(),
            &updated,
        ]);
    }
    Ok(())
}

/// Prints all topics, one a line; with `-c` the cluster of each and its consumers beside it.
pub fn list(admin: &Admin, args: &Args) -> Result<()> {
    let topics = admin.topic_list()?;
    if !args.has("c") {
        topics.iter().for_each(|topic| outln!("{topic}"));
        return Ok(());
    }
    outln!("{:<20}  {:<48}  {:<48}", "#Cluster Name", "#Topic", "#Consumer Group");
    for topic in topics {
        if topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX) {
            continue;
        }
        let (cluster, groups) = whereabouts(admin, &topic).unwrap_or_default();
        let groups = if groups.is_empty() { vec![String::new()] } else { groups };
        let (cluster, topic) = (text::cut(&cluster, 20), text::cut(&topic, 64));
        for group in groups {
            outln!("{cluster:<20}  {topic:<64}  {:<64}", text::cut(&group, 64));
        }
    }
    Ok(())
}

/// The cluster of a topic and the groups that consume it; what cannot be learned stays empty.
fn whereabouts(admin: &Admin, topic: &str) -> Option<(String, Vec<String>)> {
    let route = admin.topic_route(topic).ok()?;
    let cluster = route.broker_datas.first().map(|broker| broker.cluster.clone())?;
    Some((cluster, admin.consumers_of(topic).unwrap_or_default()))
}
