//! The NameServer's keys.

use std::path::{Path, PathBuf};

use super::row::section;
use super::{Config, Origin, Section, ServerConfig, env, in_home};

section! {
    /// Everything a NameServer can be told.
    pub struct NamesrvConfig {
        /// Installation folder. RocketMQ's scripts set it; nothing is read from it.
        rocketmq_home: Option<String> = env("ROCKETMQ_HOME"),
            "rocketmqHome" usually("$ROCKETMQ_HOME") fixed;
        /// File of the key-value table (order topics).
        kv_config_path: String = in_home("namesrv/kvConfig.json"),
            "kvConfigPath" usually("$HOME/namesrv/kvConfig.json") star fixed;
        /// File that changes at run time are written to; the file of -c when there is one.
        config_store_path: String = in_home("namesrv/namesrv.properties"),
            "configStorePath" usually("$HOME/namesrv/namesrv.properties") star fixed;
        /// Environment name that clusterTest adds to topic names.
        product_env_name: String = "center".to_string(), "productEnvName" later;
        /// Ask a central NameServer for the route of a topic that is not known here.
        cluster_test: bool = false, "clusterTest" later;
        /// Add the order configuration of a topic to its route.
        order_message_enable: bool = false, "orderMessageEnable" star live;
        /// Keys that cannot be changed at run time, with a semicolon between two.
        config_black_list: String = "configBlackList;configStorePath;kvConfigPath".to_string(),
            "configBlackList" fixed;
    }
    parts {
        /// Its port and connections.
        server: ServerConfig = ServerConfig::new(9876);
        /// Where it came from.
        origin: Origin = Origin::default();
    }
}

impl NamesrvConfig {
    /// Every key at its default on this machine.
    pub fn new() -> NamesrvConfig {
        NamesrvConfig::defaults()
    }

    /// Files below `root`, a port of the system's choice.
    pub fn for_test(root: &Path) -> NamesrvConfig {
        let in_root = |name: &str| root.join(name).to_string_lossy().into_owned();
        NamesrvConfig {
            rocketmq_home: Some(in_root("")),
            kv_config_path: in_root("kvConfig.json"),
            config_store_path: in_root("namesrv.properties"),
            server: ServerConfig { server_selector_threads: 1, ..ServerConfig::new(0) },
            ..NamesrvConfig::new()
        }
    }
}

impl Default for NamesrvConfig {
    fn default() -> NamesrvConfig {
        NamesrvConfig::new()
    }
}

impl Config for NamesrvConfig {
    const NAME: &'static str = "namesrv";

    fn sections(&self) -> Vec<&dyn Section> {
        vec![self, &self.server]
    }

    fn sections_mut(&mut self, visit: &mut dyn FnMut(&mut dyn Section)) {
        visit(self);
        visit(&mut self.server);
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn origin_mut(&mut self) -> &mut Origin {
        &mut self.origin
    }

    fn black_list(&self) -> &str {
        &self.config_black_list
    }

    fn default_store(&self) -> PathBuf {
        PathBuf::from(&self.config_store_path)
    }
}
