//! System packages: installed as root on Debian and Ubuntu, else named in a command to run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::Processes;

/// Something the machine must have, and the packages that bring it.
pub(crate) struct Need {
    what: &'static str,
    apt: &'static [&'static str],
    dnf: &'static [&'static str],
    pacman: &'static [&'static str],
    brew: &'static [&'static str],
    is_met: fn() -> bool,
}

/// What compiling the workspace needs; RocksDB is C++, and its bindings come from libclang.
pub(crate) const BUILD: &[Need] = &[
    Need {
        what: "a C++ compiler",
        apt: &["g++"],
        dnf: &["gcc-c++"],
        pacman: &["gcc"],
        brew: &["gcc"],
        is_met: has_cxx,
    },
    Need {
        what: "make, which builds the allocator",
        apt: &["make"],
        dnf: &["make"],
        pacman: &["make"],
        brew: &[],
        is_met: || on_path("make"),
    },
    Need {
        what: "libclang with its headers",
        apt: &["libclang-dev"],
        dnf: &["clang-devel"],
        pacman: &["clang"],
        brew: &["llvm"],
        is_met: has_libclang,
    },
    Need {
        what: "git",
        apt: &["git"],
        dnf: &["git"],
        pacman: &["git"],
        brew: &["git"],
        is_met: || on_path("git"),
    },
];

/// What the tests need besides: buf, helm and a foreign gRPC client come from PyPI.
pub(crate) const TEST: &[Need] = &[
    Need {
        what: "Python 3 with venv",
        apt: &["python3", "python3-venv"],
        dnf: &["python3"],
        pacman: &["python"],
        brew: &["python"],
        is_met: has_python_venv,
    },
    Need {
        what: "faketime, which sets the clock of one process",
        apt: &["faketime"],
        dnf: &["libfaketime"],
        pacman: &["libfaketime"],
        brew: &["libfaketime"],
        is_met: || on_path("faketime"),
    },
    Need {
        what: "strace, which makes the disk of one process slow, and tells what it syncs",
        apt: &["strace"],
        dnf: &["strace"],
        pacman: &["strace"],
        brew: &[],
        is_met: || on_path("strace"),
    },
    Need {
        what: "ip and tc, which make networks for nodes",
        apt: &["iproute2"],
        dnf: &["iproute", "iproute-tc"],
        pacman: &["iproute2"],
        brew: &[],
        is_met: || for_root("ip") && for_root("tc"),
    },
    Need {
        what: "nft, which cuts them",
        apt: &["nftables"],
        dnf: &["nftables"],
        pacman: &["nftables"],
        brew: &[],
        is_met: || for_root("nft"),
    },
    Need {
        what: "promtool, which checks metrics and alerts",
        apt: &["prometheus"],
        dnf: &["golang-github-prometheus"],
        pacman: &["prometheus"],
        brew: &["prometheus"],
        is_met: || on_path("promtool"),
    },
    Need {
        what: "Chromium, which the console is tried in",
        apt: &["chromium"],
        dnf: &["chromium"],
        pacman: &["chromium"],
        brew: &[],
        is_met: || on_path("chromium") || on_path("chromium-browser"),
    },
];

/// What making an image needs.
pub(crate) const IMAGE: &[Need] = &[
    Need {
        what: "mmdebstrap, which unpacks Debian's packages",
        apt: &["mmdebstrap"],
        dnf: &["mmdebstrap"],
        pacman: &[],
        brew: &[],
        is_met: || on_path("mmdebstrap"),
    },
    Need {
        what: "umoci, which makes images of layers",
        apt: &["umoci"],
        dnf: &["umoci"],
        pacman: &["umoci"],
        brew: &[],
        is_met: || on_path("umoci"),
    },
];

/// What counts the instructions of the hot paths.
pub(crate) const INSTRUCTIONS: &[Need] = &[Need {
    what: "valgrind, which counts instructions",
    apt: &["valgrind"],
    dnf: &["valgrind"],
    pacman: &["valgrind"],
    brew: &[],
    is_met: || on_path("valgrind"),
}];

/// What the comparison with peers needs. etcd itself is taken from a newer Debian, and not installed.
pub(crate) const PEERS: &[Need] = &[
    Need {
        what: "protoc with its own messages, which etcd's client is built with",
        apt: &["protobuf-compiler", "libprotobuf-dev"],
        dnf: &["protobuf-compiler", "protobuf-devel"],
        pacman: &["protobuf"],
        brew: &["protobuf"],
        is_met: has_protoc,
    },
    Need {
        what: "Python 3 with venv",
        apt: &["python3", "python3-venv"],
        dnf: &["python3"],
        pacman: &["python"],
        brew: &["python"],
        is_met: has_python_venv,
    },
];

/// Makes sure that all `needs` are met.
///
/// # Errors
/// Something is missing and cannot be installed here; the message has the command to run.
pub(crate) fn ensure(processes: &Processes, needs: &[&[Need]]) -> Result<()> {
    let missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    let names = names(&missing);
    let os = Os::detect();
    if !(os == Os::Debian && rustix::process::geteuid().is_root()) {
        bail!("missing on this machine: {names}\n{}", advice(os, &missing));
    }
    println!("missing on this machine: {names}; installing with apt-get");
    processes
        .run(&mut apt_get(&["update"]))
        .context("apt-get update")?;
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(packages(&missing, |need| need.apt));
    processes
        .run(&mut apt_get(&install))
        .context("apt-get install")?;
    let left = self::missing(needs);
    if !left.is_empty() {
        bail!(
            "still missing after the installation: {}",
            self::names(&left)
        );
    }
    Ok(())
}

/// The families of systems whose packages are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Os {
    Debian,
    Fedora,
    Arch,
    Darwin,
    Unknown,
}

impl Os {
    fn detect() -> Self {
        if cfg!(target_os = "macos") {
            return Self::Darwin;
        }
        std::fs::read_to_string("/etc/os-release")
            .map_or(Self::Unknown, |text| Self::from_os_release(&text))
    }

    /// `text` is the content of `/etc/os-release`.
    fn from_os_release(text: &str) -> Self {
        let ids: Vec<&str> = text
            .lines()
            .filter_map(|line| {
                line.strip_prefix("ID=")
                    .or_else(|| line.strip_prefix("ID_LIKE="))
            })
            .flat_map(|value| value.trim_matches('"').split_whitespace())
            .collect();
        let is_any = |wanted: &[&str]| ids.iter().any(|id| wanted.contains(id));
        if is_any(&["debian", "ubuntu"]) {
            Self::Debian
        } else if is_any(&["fedora", "rhel"]) {
            Self::Fedora
        } else if is_any(&["arch"]) {
            Self::Arch
        } else {
            Self::Unknown
        }
    }
}

/// What a person has to type to get `missing`.
fn advice(os: Os, missing: &[&Need]) -> String {
    let list = |of: fn(&Need) -> &'static [&'static str]| packages(missing, of).join(" ");
    match os {
        Os::Debian => {
            let list = list(|need| need.apt);
            format!("run as root:\n\n    apt-get update && apt-get install -y {list}\n")
        }
        Os::Fedora => {
            format!(
                "run as root:\n\n    dnf install -y {}\n",
                list(|need| need.dnf)
            )
        }
        Os::Arch => {
            let list = list(|need| need.pacman);
            format!("run as root:\n\n    pacman -S --needed --noconfirm {list}\n")
        }
        Os::Darwin => format!("run:\n\n    brew install {}\n", list(|need| need.brew)),
        Os::Unknown => format!(
            "install it with this system's package manager; on Debian the command is\n\n    \
             apt-get update && apt-get install -y {}\n",
            list(|need| need.apt)
        ),
    }
}

fn missing<'a>(needs: &[&'a [Need]]) -> Vec<&'a Need> {
    needs
        .iter()
        .flat_map(|group| group.iter())
        .filter(|need| !(need.is_met)())
        .collect()
}

fn names(needs: &[&Need]) -> String {
    needs
        .iter()
        .map(|need| need.what)
        .collect::<Vec<_>>()
        .join(", ")
}

fn packages(needs: &[&Need], of: impl Fn(&Need) -> &'static [&'static str]) -> Vec<&'static str> {
    needs
        .iter()
        .flat_map(|need| of(need).iter().copied())
        .collect()
}

fn apt_get(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn has_cxx() -> bool {
    std::env::var_os("CXX").is_some() || on_path("c++")
}

fn has_python_venv() -> bool {
    Command::new("python3")
        .args(["-c", "import venv, ensurepip"])
        .output()
        .is_ok_and(|output| output.status.success())
}

fn has_protoc() -> bool {
    let messages = [
        "/usr/include",
        "/usr/local/include",
        "/opt/homebrew/include",
    ];
    let has_messages = std::env::var_os("PROTOC_INCLUDE").is_some()
        || messages.iter().any(|directory| {
            is_file(&Path::new(directory).join("google/protobuf/descriptor.proto"))
        });
    has_messages && (std::env::var_os("PROTOC").is_some() || on_path("protoc"))
}

/// Looks for the development files: the runtime library alone lacks the compiler's own headers.
fn has_libclang() -> bool {
    if std::env::var_os("LIBCLANG_PATH").is_some() {
        return true;
    }
    let mut directories: Vec<PathBuf> = [
        "/usr/lib64",
        "/usr/lib",
        "/usr/local/lib",
        "/opt/homebrew/opt/llvm/lib",
    ]
    .into_iter()
    .chain(["/usr/local/opt/llvm/lib", "/usr/lib64/llvm/lib"])
    .map(PathBuf::from)
    .collect();
    if let Ok(entries) = std::fs::read_dir("/usr/lib") {
        let llvm = entries.flatten().map(|entry| entry.path()).filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("llvm-"))
        });
        directories.extend(llvm.map(|path| path.join("lib")));
    }
    directories.iter().any(|directory| {
        ["libclang.so", "libclang.dylib"]
            .iter()
            .any(|name| directory.join(name).exists())
    })
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| is_file(&directory.join(program)))
    })
}

/// Looks also where root's programs are, which need not be on everybody's path.
fn for_root(program: &str) -> bool {
    let directories = ["/usr/sbin", "/sbin"].map(Path::new);
    on_path(program)
        || directories
            .iter()
            .any(|directory| is_file(&directory.join(program)))
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_names_the_family() {
        let family = Os::from_os_release;
        assert_eq!(family("PRETTY_NAME=\"Debian\"\nID=debian\n"), Os::Debian);
        assert_eq!(
            family("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"),
            Os::Debian
        );
        assert_eq!(
            family("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"),
            Os::Fedora
        );
        assert_eq!(family("ID=arch\n"), Os::Arch);
        assert_eq!(family("ID=nixos\n"), Os::Unknown);
    }

    #[test]
    fn advice_is_one_exact_command_without_sudo() {
        let missing: Vec<&Need> = BUILD.iter().chain(TEST).collect();
        let text = advice(Os::Debian, &missing);
        assert!(
            text.contains(
                "apt-get update && apt-get install -y g++ make libclang-dev git python3 python3-venv faketime strace \
                 iproute2 nftables prometheus chromium"
            ),
            "{text}"
        );
        for os in [Os::Debian, Os::Fedora, Os::Arch, Os::Darwin, Os::Unknown] {
            assert!(!advice(os, &missing).contains("sudo"), "{os:?}");
        }
    }

    #[test]
    fn unmet_need_is_missing_and_met_one_is_not() {
        let need = |is_met| Need {
            what: "x",
            apt: &[],
            dnf: &[],
            pacman: &[],
            brew: &[],
            is_met,
        };
        let needs = [need(|| true), need(|| false)];
        assert_eq!(missing(&[&needs]).len(), 1);
    }
}
