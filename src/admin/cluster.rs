//! Commands on clusters: clusterList.

use std::time::Duration;

use super::options::{Args, Opt};
use super::text::{out, outln};
use crate::base::console::complain;
use crate::base::{Error, Result, clock};
use crate::client::Admin;
use crate::protocol::body::cluster::{ClusterInfo, KvTable};

/// Options of clusterList.
pub const LIST: &[Opt] = &[
    Opt::flag("m", "moreStats", "Print more stats"),
    Opt::value("i", "interval", "specify intervals numbers, it is in seconds"),
];

const MS_PER_HOUR: f64 = 3_600_000.0;

/// The masters of a cluster. Of an unknown one RocketMQ's tools say so and go on with none.
pub fn masters(admin: &Admin, cluster: &str) -> Result<Vec<String>> {
    match admin.masters_of(cluster) {
        Err(Error::Config(_)) => {
            out!(
                "[error] Make sure the specified clusterName exists or the name server connected \
                 to is correct."
            );
            Ok(Vec::new())
        }
        other => other,
    }
}

/// Prints every broker with its load; with `-i` again and again.
pub fn list(admin: &Admin, args: &Args) -> Result<()> {
    let interval: u64 = args.number("i", 0)?;
    loop {
        let info = admin.cluster_info()?;
        if args.has("m") {
            totals(admin, &info);
        } else {
            loads(admin, &info);
        }
        if interval == 0 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(interval));
    }
}

/// Calls `each` with cluster, broker name, broker id, address and figures of every replica.
fn every_broker(admin: &Admin, info: &ClusterInfo, each: impl Fn(&str, &str, i64, &str, &KvTable)) {
    for (cluster, names) in &info.cluster_addr_table {
        let mut names: Vec<&String> = names.iter().collect();
        names.sort();
        for name in names {
            let Some(broker) = info.broker_addr_table.get(name) else { continue };
            for (id, address) in &broker.broker_addrs {
                let figures = admin.runtime_info(address).unwrap_or_else(|error| {
                    complain(format_args!("{address}: {error}"));
                    KvTable::default()
                });
                each(cluster, name, *id, address, &figures);
            }
        }
    }
}

fn loads(admin: &Admin, info: &ClusterInfo) {
    let line = |cells: [&str; 10]| {
        let [cluster, name, id, address, version, input, output, wait, hours, space] = cells;
        outln!(
            "{cluster:<16}  {name:<22}  {id:<4}  {address:<22} {version:<16} {input:>19} \
             {output:>19} {wait:>10} {hours:>5} {space:>6}"
        );
    };
    line([
        "#Cluster Name",
        "#Broker Name",
        "#BID",
        "#Addr",
        "#Version",
        "#InTPS(LOAD)",
        "#OutTPS(LOAD)",
        "#PCWait(ms)",
        "#Hour",
        "#SPACE",
    ]);
    every_broker(admin, info, |cluster, name, id, address, figures| {
        let text = |key: &str| figures.table.get(key).map_or("", String::as_str);
        let number = |key: &str| text(key).trim().parse::<f64>().unwrap_or(0.0);
        let load = |rates: &str, pool: &str| {
            let rate = text(rates).split(' ').next().and_then(|rate| rate.parse().ok());
            let queued = text(&format!("{pool}ThreadPoolQueueSize"));
            let wait = text(&format!("{pool}ThreadPoolQueueHeadWaitTimeMills"));
            format!("{:9.2}({queued},{wait}ms)", rate.unwrap_or(0.0f64))
        };
        let earliest = text("earliestMessageTimeStamp").parse().ok();
        let age = earliest.map_or(0.0, |ms: f64| clock::now_ms() as f64 - ms);
        line([
            cluster,
            name,
            &id.to_string(),
            address,
            text("brokerVersionDesc"),
            &load("putTps", "send"),
            &load("getTransferedTps", "pull"),
            text("pageCacheLockTimeMills"),
            &format!("{:.2}", age / MS_PER_HOUR),
            &format!("{:.4}", number("commitLogDiskRatio")),
        ]);
    });
}

fn totals(admin: &Admin, info: &ClusterInfo) {
    let line = |[cluster, name, in_before, out_before, in_today, out_today]: [&str; 6]| {
        outln!(
            "{cluster:<16}  {name:<32} {in_before:>14} {out_before:>14} {in_today:>14} \
             {out_today:>14}"
        );
    };
    line([
        "#Cluster Name",
        "#Broker Name",
        "#InTotalYest",
        "#OutTotalYest",
        "#InTotalToday",
        "#OutTotalToday",
    ]);
    every_broker(admin, info, |cluster, name, _, _, figures| {
        let total = |kind: &str, when: &str| -> i64 {
            let figure = figures.table.get(&format!("msg{kind}Total{when}"));
            figure.and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        let between = |kind: &str, from: &str, until: &str| {
            total(kind, until).saturating_sub(total(kind, from)).to_string()
        };
        line([
            cluster,
            name,
            &between("Put", "YesterdayMorning", "TodayMorning"),
            &between("Get", "YesterdayMorning", "TodayMorning"),
            &between("Put", "TodayMorning", "TodayNow"),
            &between("Get", "TodayMorning", "TodayNow"),
        ]);
    });
}
