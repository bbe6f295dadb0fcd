//! Keys of the listening side and of the connecting side (RocketMQ's Netty server and client).

use super::row::section;
use crate::sys::host;

section! {
    /// The listening side of a daemon.
    pub struct ServerConfig {
        /// Port that clients connect to. A broker also takes the two beside it: listenPort - 2 is
        /// its fast port, listenPort + 1 serves its slaves. 0 lets the system choose (tests).
        listen_port: i32 = 10911, "listenPort" within(0, 65535);
        /// Request threads of a NameServer. A broker has pools of its own instead.
        server_worker_threads: i32 = 8, "serverWorkerThreads" at_least(1);
        /// Threads that run completions of calls to clients; 0 is RocketMQ's "choose".
        server_callback_executor_threads: i32 = 0, "serverCallbackExecutorThreads" unused;
        /// I/O threads that own the accepted connections; 3, RocketMQ's default, means half the
        /// number of processors, from 1 to 8.
        server_selector_threads: i32 = 3, "serverSelectorThreads" at_least(1);
        /// Before an I/O thread sleeps it looks for requests for so long, as long as they come
        /// faster that way: a client that waits for each answer gets it sooner, at the cost of CPU
        /// time. 40 suits clients on the same machine. 0: it never looks, nor where there is one
        /// processor only. Not RocketMQ's.
        server_selector_spin_micros: i32 = 0,
            "serverSelectorSpinMicros" unit("us") within(0, 1000);
        /// One-way requests under way to clients at a time. Here they only wait in the outbox of
        /// their connection, which has a limit of its own.
        server_oneway_semaphore_value: i32 = 256, "serverOnewaySemaphoreValue" unused;
        /// Calls under way to clients at a time. No thread waits for one here, so the program has a
        /// far higher limit of its own.
        server_async_semaphore_value: i32 = 64, "serverAsyncSemaphoreValue" unused;
        /// A connection on which nothing came or went for so long is closed.
        server_channel_max_idle_time_seconds: i32 = 120,
            "serverChannelMaxIdleTimeSeconds" unit("s") at_least(1);
        /// Kernel send buffer of an accepted connection; 0 leaves the system's choice.
        server_socket_snd_buf_size: i32 = 0, "serverSocketSndBufSize" unit("bytes") at_least(0);
        /// Kernel receive buffer of an accepted connection; 0 leaves the system's choice.
        server_socket_rcv_buf_size: i32 = 0, "serverSocketRcvBufSize" unit("bytes") at_least(0);
        /// Netty's mark above which a connection counts as not writable. The limits of a slow
        /// reader are fixed here.
        write_buffer_high_water_mark: i32 = 0, "writeBufferHighWaterMark" unit("bytes") unused;
        /// Netty's mark below which it counts as writable again.
        write_buffer_low_water_mark: i32 = 0, "writeBufferLowWaterMark" unit("bytes") unused;
        /// Connections that may wait to be accepted.
        server_socket_backlog: i32 = 1024, "serverSocketBacklog" at_least(1);
        /// A buffer pool of Netty.
        server_pooled_byte_buf_allocator_enable: bool = true,
            "serverPooledByteBufAllocatorEnable" unused;
        /// A choice of Netty; epoll is always used here.
        use_epoll_native_selector: bool = false, "useEpollNativeSelector" unused;
    }
}

section! {
    /// The connecting side: a broker towards NameServers and other brokers.
    pub struct ClientConfig {
        /// I/O threads that own the outgoing connections; half the number of processors at most.
        client_worker_threads: i32 = 4, "clientWorkerThreads" at_least(1);
        /// Threads that run completions of asynchronous calls.
        client_callback_executor_threads: i32 = host::processors(),
            "clientCallbackExecutorThreads" usually("number of processors") unused;
        /// One-way requests under way at a time. Here they only wait in the outbox of their
        /// connection.
        client_oneway_semaphore_value: i32 = 65535, "clientOnewaySemaphoreValue" unused;
        /// Calls under way at a time.
        client_async_semaphore_value: i32 = 65535, "clientAsyncSemaphoreValue" at_least(1);
        /// Longest time to make a connection.
        connect_timeout_millis: i32 = 3000, "connectTimeoutMillis" unit("ms") at_least(1);
        /// Never read by RocketMQ either.
        channel_not_active_interval: i64 = 60000, "channelNotActiveInterval" unit("ms") unused;
        /// An outgoing connection on which nothing came or went for so long is closed.
        client_channel_max_idle_time_seconds: i32 = 120,
            "clientChannelMaxIdleTimeSeconds" unit("s") at_least(1);
        /// Kernel send buffer of an outgoing connection; 0 leaves the system's choice.
        client_socket_snd_buf_size: i32 = 0, "clientSocketSndBufSize" unit("bytes") at_least(0);
        /// Kernel receive buffer of an outgoing connection; 0 leaves the system's choice.
        client_socket_rcv_buf_size: i32 = 0, "clientSocketRcvBufSize" unit("bytes") at_least(0);
        /// A buffer pool of Netty.
        client_pooled_byte_buf_allocator_enable: bool = false,
            "clientPooledByteBufAllocatorEnable" unused;
        /// Close a connection on which a call got no answer in time.
        client_close_socket_if_timeout: bool = true, "clientCloseSocketIfTimeout";
        /// Use TLS towards NameServers and other brokers.
        use_tls: bool = false, "useTLS" later;
        /// Netty's mark above which a connection counts as not writable.
        write_buffer_high_water_mark: i32 = 0, "writeBufferHighWaterMark" unit("bytes") unused;
        /// Netty's mark below which it counts as writable again.
        write_buffer_low_water_mark: i32 = 0, "writeBufferLowWaterMark" unit("bytes") unused;
    }
}

impl ServerConfig {
    /// Defaults of a daemon that listens on `listen_port`.
    pub fn new(listen_port: i32) -> ServerConfig {
        ServerConfig { listen_port, ..ServerConfig::defaults() }
    }
}

impl ClientConfig {
    /// Every key at its default.
    pub fn new() -> ClientConfig {
        ClientConfig::defaults()
    }
}

impl Default for ClientConfig {
    fn default() -> ClientConfig {
        ClientConfig::new()
    }
}
