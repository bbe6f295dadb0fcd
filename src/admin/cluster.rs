//! Commands on clusters: clusterList.

use std::time::Duration;

use super::options::{Args, Opt};
use super::table::{self, Column};
use super::topic::number;
use crate::base::{Error, Result, clock};
use crate::client::Admin;
use crate::protocol::body::cluster::KvTable;

pub const LIST: &[Opt] = &[
    Opt::flag("m", "moreStats", "Print more stats"),
    Opt::value("i", "interval", "specify intervals numbers, it is in seconds"),
];

const MS_PER_HOUR: f64 = 3_600_000.0;

/// The masters of a cluster. Of an unknown one RocketMQ's tools say so and go on with none.
pub fn masters(admin: &Admin, cluster: &str) -> Result<Vec<String>> {
    match admin.masters_of(cluster) {
        Err(Error::Config(_)) => {
            println!(
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
    let interval: u64 = number(args, "i", 0)?;
    loop {
        if args.has("m") {
            totals(admin)?;
        } else {
            loads(admin)?;
        }
        if interval == 0 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(interval));
    }
}

/// Calls `each` with cluster, broker name, broker id, address and figures of every replica.
fn every_broker(
    admin: &Admin,
    mut each: impl FnMut(&str, &str, i64, &str, &KvTable),
) -> Result<()> {
    let info = admin.cluster_info()?;
    for (cluster, names) in &info.cluster_addr_table {
        let mut names: Vec<&String> = names.iter().collect();
        names.sort();
        for name in names {
            let Some(broker) = info.broker_addr_table.get(name) else { continue };
            for (id, address) in &broker.broker_addrs {
                let figures = admin.runtime_info(address).unwrap_or_else(|error| {
                    eprintln!("{address}: {error}");
                    KvTable::default()
                });
                each(cluster, name, *id, address, &figures);
            }
        }
    }
    Ok(())
}

fn loads(admin: &Admin) -> Result<()> {
    const COLUMNS: [Column; 10] = [
        Column::Left(16),
        Column::Left(22),
        Column::Left(4),
        Column::Left(22),
        Column::Left(16),
        Column::Right(19),
        Column::Right(19),
        Column::Right(10),
        Column::Right(5),
        Column::Right(6),
    ];
    const GAPS: [usize; 9] = [2, 2, 2, 1, 1, 1, 1, 1, 1];
    let line = |cells: &[&str]| println!("{}", table::row(&COLUMNS, &GAPS, cells));
    line(&[
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
    every_broker(admin, |cluster, name, id, address, figures| {
        let text = |key: &str| figures.table.get(key).map_or("", String::as_str);
        let number = |key: &str| text(key).trim().parse::<f64>().unwrap_or(0.0);
        let rate = |key: &str| text(key).split(' ').next().unwrap_or("").parse().unwrap_or(0.0);
        let load = |rate: f64, queued: &str, wait: &str| {
            format!("{rate:9.2}({},{}ms)", text(queued), text(wait))
        };
        let earliest = number("earliestMessageTimeStamp");
        line(&[
            cluster,
            name,
            &id.to_string(),
            address,
            text("brokerVersionDesc"),
            &load(
                rate("putTps"),
                "sendThreadPoolQueueSize",
                "sendThreadPoolQueueHeadWaitTimeMills",
            ),
            &load(
                rate("getTransferedTps"),
                "pullThreadPoolQueueSize",
                "pullThreadPoolQueueHeadWaitTimeMills",
            ),
            text("pageCacheLockTimeMills"),
            &format!("{:.2}", (clock::now_ms() as f64 - earliest) / MS_PER_HOUR),
            &format!("{:.4}", number("commitLogDiskRatio")),
        ]);
    })
}

fn totals(admin: &Admin) -> Result<()> {
    const COLUMNS: [Column; 6] = [
        Column::Left(16),
        Column::Left(32),
        Column::Right(14),
        Column::Right(14),
        Column::Right(14),
        Column::Right(14),
    ];
    const GAPS: [usize; 5] = [2, 1, 1, 1, 1];
    let line = |cells: &[&str]| println!("{}", table::row(&COLUMNS, &GAPS, cells));
    line(&[
        "#Cluster Name",
        "#Broker Name",
        "#InTotalYest",
        "#OutTotalYest",
        "#InTotalToday",
        "#OutTotalToday",
    ]);
    every_broker(admin, |cluster, name, _, _, figures| {
        let number = |key: String| {
            figures.table.get(&key).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0)
        };
        let yesterday = |kind: &str| {
            number(format!("msg{kind}TotalTodayMorning"))
                - number(format!("msg{kind}TotalYesterdayMorning"))
        };
        let today = |kind: &str| {
            number(format!("msg{kind}TotalTodayNow"))
                - number(format!("msg{kind}TotalTodayMorning"))
        };
        line(&[
            cluster,
            name,
            &yesterday("Put").to_string(),
            &yesterday("Get").to_string(),
            &today("Put").to_string(),
            &today("Get").to_string(),
        ]);
    })
}
