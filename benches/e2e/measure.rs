//! What is measured, and in which unit.

/// A number of one client, of one step of one round.
pub(crate) type Sample = (Measure, f64);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Measure {
    DownRate,
    DownCpu,
    DownServer,
    UpRate,
    UpCpu,
    UpServer,
    PeakMemory,
    EchoP50,
    EchoP99,
    EchoCpu,
    SetUpRate,
    SetUpP50,
    SetUpP99,
    SetUpCpu,
    SetUp16Rate,
    SetUp16P50,
    SetUp16P99,
    SetUp16Cpu,
    IdleMemory,
    ManyIdleMemory,
}

impl Measure {
    pub(crate) const ALL: [Self; 20] = [
        Self::DownRate,
        Self::DownCpu,
        Self::DownServer,
        Self::UpRate,
        Self::UpCpu,
        Self::UpServer,
        Self::PeakMemory,
        Self::EchoP50,
        Self::EchoP99,
        Self::EchoCpu,
        Self::SetUpRate,
        Self::SetUpP50,
        Self::SetUpP99,
        Self::SetUpCpu,
        Self::SetUp16Rate,
        Self::SetUp16P50,
        Self::SetUp16P99,
        Self::SetUp16Cpu,
        Self::IdleMemory,
        Self::ManyIdleMemory,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::DownRate => "download",
            Self::DownCpu => "download, client CPU",
            Self::DownServer => "download, server CPU",
            Self::UpRate => "upload",
            Self::UpCpu => "upload, client CPU",
            Self::UpServer => "upload, server CPU",
            Self::PeakMemory => "peak RSS after both",
            Self::EchoP50 => "echo p50",
            Self::EchoP99 => "echo p99",
            Self::EchoCpu => "client CPU per echo",
            Self::SetUpRate => "set-ups",
            Self::SetUpP50 => "set-up p50",
            Self::SetUpP99 => "set-up p99",
            Self::SetUpCpu => "client CPU per set-up",
            Self::SetUp16Rate => "set-ups, 16 at once",
            Self::SetUp16P50 => "set-up p50, 16 at once",
            Self::SetUp16P99 => "set-up p99, 16 at once",
            Self::SetUp16Cpu => "client CPU per set-up, 16 at once",
            Self::IdleMemory => "RSS per idle connection, of 1,000",
            Self::ManyIdleMemory => "RSS with 10,000 idle connections",
        }
    }

    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::DownRate | Self::UpRate => "MiB/s",
            Self::DownCpu | Self::DownServer | Self::UpCpu | Self::UpServer => "s/GiB",
            Self::PeakMemory => "MiB",
            Self::IdleMemory => "KiB",
            Self::ManyIdleMemory => "MB",
            Self::SetUpRate | Self::SetUp16Rate => "1/s",
            Self::EchoP50
            | Self::EchoP99
            | Self::EchoCpu
            | Self::SetUpP50
            | Self::SetUpP99
            | Self::SetUpCpu
            | Self::SetUp16P50
            | Self::SetUp16P99
            | Self::SetUp16Cpu => "us",
        }
    }

    pub(crate) fn with_unit(self) -> String {
        format!("{}, {}", self.name(), self.unit())
    }

    /// The value as the table has it, without its unit.
    pub(crate) fn show(self, value: f64) -> String {
        match self.unit() {
            "s/GiB" => format!("{value:.2}"),
            "MiB" | "KiB" => format!("{value:.1}"),
            _ => format!("{value:.0}"),
        }
    }
}
