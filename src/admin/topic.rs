//! Commands on topics: updateTopic, topicRoute, topicStatus, topicList.

use std::collections::BTreeSet;

use super::options::{Args, Opt};
use super::table::{self, Column};
use crate::base::{Error, Result, json};
use crate::client::Admin;
use crate::message::topic::{DLQ_PREFIX, RETRY_PREFIX};
use crate::protocol::Command;
use crate::protocol::body::route::{BrokerData, TopicRouteData};
use crate::protocol::body::topic::{GroupList, TopicConfig};
use crate::protocol::code::{request, response};
use crate::protocol::headers::topic::TopicName;

/// Namespace of the KV table that makes topics ordered.
const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

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

pub const ROUTE: &[Opt] = &[
    Opt::value("t", "topic", "topic name").required(),
    Opt::flag("l", "list", "Use list format to print data"),
];

pub const STATUS: &[Opt] = &[Opt::value("t", "topic", "topic name").required()];

pub const LIST: &[Opt] = &[Opt::flag("c", "clusterModel", "clusterModel")];

/// Creates or changes a topic on one broker or on every master of a cluster.
pub fn update(admin: &Admin, args: &Args) -> Result<()> {
    let config = TopicConfig {
        topic_name: args.required("t").to_string(),
        read_queue_nums: number(args, "r", 8)?,
        write_queue_nums: number(args, "w", 8)?,
        perm: number(args, "p", 6)?,
        topic_sys_flag: i32::from(args.is_true("u")) | (i32::from(args.is_true("s")) << 1),
        order: args.is_true("o"),
        ..TopicConfig::default()
    };
    if let Some(broker) = args.get("b") {
        admin.update_topic(broker, &config)?;
        if config.order {
            let value = order_one(admin, broker, &config)?;
            print!("set broker orderConf. isOrder=true, orderConf=[{value}]");
        }
        println!("create topic to {broker} success.");
    } else {
        let cluster = args.required("c");
        for broker in super::cluster::masters(admin, cluster)? {
            admin.update_topic(&broker, &config)?;
            println!("create topic to {broker} success.");
        }
        if config.order {
            let value = order_cluster(admin, cluster, &config)?;
            print!("set cluster orderConf. isOrder=true, orderConf=[{value}]");
        }
    }
    println!("{}", describe(&config));
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

/// RocketMQ's text of a topic configuration.
fn describe(config: &TopicConfig) -> String {
    format!(
        "TopicConfig [topicName={}, readQueueNums={}, writeQueueNums={}, perm={}, \
         topicFilterType={}, topicSysFlag={}, order={}]",
        config.topic_name,
        config.read_queue_nums,
        config.write_queue_nums,
        table::permission(config.perm),
        config.topic_filter_type.name(),
        config.topic_sys_flag,
        config.order,
    )
}

/// Prints who serves a topic, as JSON or as a table.
pub fn route(admin: &Admin, args: &Args) -> Result<()> {
    let route = admin.topic_route(args.required("t"))?;
    if args.has("l") {
        route_table(&route);
    } else {
        println!("{}", json::to_pretty(&route));
    }
    Ok(())
}

fn route_table(route: &TopicRouteData) {
    const COLUMNS: [Column; 6] = [
        Column::Left(45),
        Column::Left(32),
        Column::Left(50),
        Column::Left(10),
        Column::Left(11),
        Column::Left(5),
    ];
    let line = |cells: &[&str]| println!("{}", table::row(&COLUMNS, &[1; 5], cells));
    line(&["#ClusterName", "#BrokerName", "#BrokerAddrs", "#ReadQueue", "#WriteQueue", "#Perm"]);
    let mut queues: Vec<_> = route.queue_datas.iter().collect();
    queues.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
    for queue in &queues {
        let broker = route.broker_datas.iter().find(|b| b.broker_name == queue.broker_name);
        line(&[
            broker.map_or("", |broker| broker.cluster.as_str()),
            &queue.broker_name,
            &broker.map(addresses).unwrap_or_default(),
            &queue.read_queue_nums.to_string(),
            &queue.write_queue_nums.to_string(),
            &queue.perm.to_string(),
        ]);
    }
    println!("{}", "-".repeat(158));
    line(&[
        "Total:",
        &route.broker_datas.len().to_string(),
        "",
        &queues.iter().map(|queue| queue.read_queue_nums).sum::<i32>().to_string(),
        &queues.iter().map(|queue| queue.write_queue_nums).sum::<i32>().to_string(),
        "",
    ]);
}

fn addresses(broker: &BrokerData) -> String {
    let all: Vec<String> =
        broker.broker_addrs.iter().map(|(id, address)| format!("{id}={address}")).collect();
    format!("{{{}}}", all.join(", "))
}

/// Prints the offsets of every queue of a topic.
pub fn status(admin: &Admin, args: &Args) -> Result<()> {
    const COLUMNS: [Column; 5] =
        [Column::Left(32), Column::Left(4), Column::Left(20), Column::Left(20), Column::Free];
    const GAPS: [usize; 4] = [2, 2, 2, 4];
    let stats = admin.topic_stats(args.required("t"))?;
    if stats.offset_table.is_empty() {
        return Err(Error::Config("Not found the topic stats info".into()));
    }
    let line = |cells: &[&str]| println!("{}", table::row(&COLUMNS, &GAPS, cells));
    line(&["#Broker Name", "#QID", "#Min Offset", "#Max Offset", "#Last Updated"]);
    let mut rows: Vec<_> = stats.offset_table.iter().collect();
    rows.sort_by(|(a, _), (b, _)| {
        (&a.topic, &a.broker_name, a.queue_id).cmp(&(&b.topic, &b.broker_name, b.queue_id))
    });
    for (queue, offsets) in rows {
        let updated = match offsets.last_update_timestamp {
            ms if ms > 0 => table::human_time(ms),
            _ => String::new(),
        };
        line(&[
            table::cut(&queue.broker_name, 32),
            &queue.queue_id.to_string(),
            &offsets.min_offset.to_string(),
            &offsets.max_offset.to_string(),
            &updated,
        ]);
    }
    Ok(())
}

/// Prints all topics, one a line; with `-c` the cluster of each beside it.
pub fn list(admin: &Admin, args: &Args) -> Result<()> {
    let topics = admin.topic_list()?;
    if !args.has("c") {
        for topic in topics {
            println!("{topic}");
        }
        return Ok(());
    }
    const HEAD: [Column; 3] = [Column::Left(20), Column::Left(48), Column::Left(48)];
    const COLUMNS: [Column; 3] = [Column::Left(20), Column::Left(64), Column::Left(64)];
    println!("{}", table::row(&HEAD, &[2; 2], &["#Cluster Name", "#Topic", "#Consumer Group"]));
    for topic in topics {
        if topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX) {
            continue;
        }
        let (cluster, groups) = whereabouts(admin, &topic).unwrap_or_default();
        let groups = if groups.is_empty() { vec![String::new()] } else { groups };
        for group in groups {
            let cells = [table::cut(&cluster, 20), table::cut(&topic, 64), table::cut(&group, 64)];
            println!("{}", table::row(&COLUMNS, &[2; 2], &cells));
        }
    }
    Ok(())
}

/// The cluster of a topic and the groups that consume it; what cannot be learned stays empty.
fn whereabouts(admin: &Admin, topic: &str) -> Option<(String, Vec<String>)> {
    let route = admin.topic_route(topic).ok()?;
    let cluster = route.broker_datas.first().map(|broker| broker.cluster.clone())?;
    Some((cluster, consumers(admin, topic).unwrap_or_default()))
}

/// The groups that consume a topic, of all its masters, sorted.
pub fn consumers(admin: &Admin, topic: &str) -> Result<Vec<String>> {
    let mut groups = BTreeSet::new();
    for broker in admin.topic_route(topic)?.broker_datas {
        let Some(master) = broker.broker_addrs.get(&0) else { continue };
        let mut ask = Command::request(request::QUERY_TOPIC_CONSUME_BY_WHO);
        TopicName { topic }.encode(&mut ask);
        groups.extend(GroupList::from_slice(&admin.call(master, ask)?.body)?.group_list);
    }
    Ok(groups.into_iter().collect())
}

/// A number among the options.
pub fn number<T: std::str::FromStr>(args: &Args, short: &str, default: T) -> Result<T> {
    match args.get(short) {
        None => Ok(default),
        Some(text) => {
            text.parse().map_err(|_| Error::Config(format!("-{short} {text}: expected a number")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_configuration_reads_as_in_java() {
        let config = TopicConfig {
            topic_name: "T".into(),
            read_queue_nums: 8,
            write_queue_nums: 8,
            ..TopicConfig::default()
        };
        assert_eq!(
            describe(&config),
            "TopicConfig [topicName=T, readQueueNums=8, writeQueueNums=8, perm=RW-, \
             topicFilterType=SINGLE_TAG, topicSysFlag=0, order=false]"
        );
    }
}
