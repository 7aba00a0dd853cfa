#!/usr/bin/env bash
# A real SLURM on this one machine, over loopback, for the tests that want one: slurm-wlm and munge of Debian or Ubuntu,
# run as root. Where a SLURM answers already it does nothing. If no node comes up it says why and ends with 1, and
# those tests skip. SLURM_CONF names another configuration than the system's, beside one that runs.
set -euo pipefail

export SLURM_CONF=${SLURM_CONF:-/etc/slurm/slurm.conf}
state=${SLURM_CI_STATE:-/var/lib/slurm-ci}
log=$state/log

# Without any configuration sinfo asks the network for one, for a minute.
has_node() { timeout 10 sinfo --noheader --format=%T 2>/dev/null | grep -qE '^(idle|mixed|allocated)'; }
# Neither daemon may hold on to this script's output, or what waits for it would wait for ever.
start() { "$@" </dev/null >>"$log/$1.out" 2>&1; }

if has_node; then exit 0; fi
if ! command -v slurmctld >/dev/null || ! command -v slurmd >/dev/null || ! command -v munged >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null
fi
mkdir -p "$(dirname "$SLURM_CONF")" "$state/slurmctld" "$state/slurmd" "$log"

# Memory is handed out like cores, so a job that asks for too much waits instead of taking the machine down.
cores=$(nproc)
memory_mb=$(awk '/^MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
cat >"$SLURM_CONF" <<CONF
ClusterName=one-node
SlurmctldHost=localhost
SlurmctldPort=${SLURMCTLD_PORT:-6817}
SlurmdPort=${SLURMD_PORT:-6818}
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=$((memory_mb / cores))
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000,bf_interval=1
MaxArraySize=10001
ReturnToService=2
MpiDefault=none
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldLogFile=$log/slurmctld.log
SlurmdLogFile=$log/slurmd.log
StateSaveLocation=$state/slurmctld
SlurmdSpoolDir=$state/slurmd
NodeName=localhost CPUs=$cores RealMemory=$memory_mb State=UNKNOWN
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE State=UP
CONF
# From 23.11 on slurmd wants control groups, which containers lack, unless told otherwise.
if dpkg --compare-versions "$(slurmd -V | awk '{print $2}')" ge 23.11; then
    echo 'CgroupPlugin=disabled' >"$(dirname "$SLURM_CONF")/cgroup.conf"
fi

if ! munge --no-input 2>/dev/null | unmunge >/dev/null 2>&1; then
    install -d -o munge -g munge -m 755 /run/munge
    start runuser -u munge -- munged --force
fi
start slurmctld
start slurmd -N localhost
for _ in $(seq 120); do
    if has_node; then exit 0; fi
    sleep 0.5
done
echo "SLURM has no node after a minute:" >&2
sinfo --list-reasons >&2 || true
tail -n 20 "$log"/* >&2
exit 1
