//! Calendar time of this machine's time zone.

/// A moment as a clock on the wall shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    pub year: i32,
    /// 1 to 12.
    pub month: i32,
    /// 1 to 31.
    pub day: i32,
    /// 0 to 23.
    pub hour: i32,
    pub minute: i32,
    pub second: i32,
    pub millisecond: i32,
}

/// `ms` since 1970-01-01 00:00 UTC, in the time zone of `TZ` or of the machine.
pub fn local_time(ms: i64) -> LocalTime {
    let seconds = ms.div_euclid(1000) as libc::time_t;
    // SAFETY: `tm` is plain data for which zeros are valid; localtime_r writes it and keeps
    // nothing. Its one failure, a year beyond 32 bits, leaves the zeros.
    let tm = unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        libc::localtime_r(&seconds, &mut tm);
        tm
    };
    LocalTime {
        year: tm.tm_year + 1900,
        month: tm.tm_mon + 1,
        day: tm.tm_mday,
        hour: tm.tm_hour,
        minute: tm.tm_min,
        second: tm.tm_sec,
        millisecond: ms.rem_euclid(1000) as i32,
    }
}

/// The inverse of `local_time`; `None` for a moment that no clock on the wall shows.
pub fn from_local(time: LocalTime) -> Option<i64> {
    // SAFETY: `tm` is plain data for which zeros are valid; mktime reads and adjusts it and keeps
    // nothing.
    let seconds = unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        tm.tm_year = time.year - 1900;
        tm.tm_mon = time.month - 1;
        tm.tm_mday = time.day;
        tm.tm_hour = time.hour;
        tm.tm_min = time.minute;
        tm.tm_sec = time.second;
        tm.tm_isdst = -1;
        libc::mktime(&mut tm)
    };
    let ms = seconds * 1000 + i64::from(time.millisecond);
    (local_time(ms) == time).then_some(ms)
}
