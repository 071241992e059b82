// The members of the cluster, and what needs an operator.

import { useEffect, useState } from "preact/hooks";

import { bytes, count, hex, time } from "../format";
import { Role, type GetStatusResponse, type NodeStatus } from "../gen/toka/vault/v1/cluster_service_pb";
import { AlarmKind, type Alarm, type Member } from "../gen/toka/vault/v1/membership_pb";
import { Said } from "../parts/said";
import type { Sampler } from "../sampler";

const ROLES: Record<Role, string> = {
  [Role.UNSPECIFIED]: "not known",
  [Role.LEADER]: "leader",
  [Role.FOLLOWER]: "follower",
  [Role.CANDIDATE]: "candidate",
  [Role.LEARNER]: "learner",
  [Role.IDLE]: "idle",
  [Role.LEADER_WITHOUT_QUORUM]: "leader without quorum",
};

/** Shows what the sampler has, each time that it has asked. */
export function useSampler(sampler: Sampler): void {
  const [, setTurn] = useState(0);
  useEffect(() => sampler.listen(() => setTurn((turn) => turn + 1)), [sampler]);
}

export function Nodes({ sampler }: { sampler: Sampler }) {
  useSampler(sampler);
  const { status, failure } = sampler;
  if (!status) return <Said failure={failure} isBusy>{null}</Said>;
  return (
    <>
      <h1>Nodes</h1>
      {failure && <Said failure={failure} />}
      <Cluster status={status} />
      <Alarms alarms={status.alarms} />
      <NodeTable status={status} />
    </>
  );
}

function Cluster({ status }: { status: GetStatusResponse }) {
  const { header, settings, membership } = status;
  const healthy = status.nodes.filter((node) => node.healthy).length;
  const voters = membership?.members.filter((member) => member.voter).length ?? 0;
  const facts: [string, string][] = [
    ["healthy", `${healthy} of ${status.nodes.length}`],
    ["leader", status.leaderId === undefined ? "none" : `node ${status.leaderId}`],
    ["voters", String(voters)],
    ["events", count(header?.sequence ?? 0n)],
    ["revision", count(header?.revision ?? 0n)],
    ["feature level", settings ? String(settings.featureLevel) : "–"],
    ["embeddings", settings?.dimension ? `${settings.dimension} × ${settings.embeddingModel || "any model"}` : "none yet"],
    ["cluster", hex(header?.clusterId ?? new Uint8Array())],
  ];
  const change = membership?.changeInProgress;
  return (
    <section aria-label="Cluster">
      <dl class="facts">
        {facts.map(([name, value]) => (
          <div key={name}><dt>{name}</dt><dd title={value}>{value}</dd></div>
        ))}
      </dl>
      {change && <p class="notice">Being changed: {change}</p>}
      {membership?.advice.map((advice) => <p key={advice} class="notice">{advice}</p>)}
    </section>
  );
}

function Alarms({ alarms }: { alarms: Alarm[] }) {
  if (alarms.length === 0) return <p class="muted" role="status">No alarms.</p>;
  return (
    <section aria-label="Alarms">
      {alarms.map((alarm) => (
        <div key={`${alarm.kind} ${alarm.nodeId} ${alarm.message}`} class="alarm" role="alert">
          <strong>{AlarmKind[alarm.kind]?.toLowerCase().replaceAll("_", " ") ?? "alarm"}</strong>
          {alarm.nodeId !== undefined && <span> of node {String(alarm.nodeId)}</span>}
          {alarm.sinceUnixMs > 0n && <span class="muted"> since {time(alarm.sinceUnixMs)}</span>}
          <p>{alarm.message}</p>
          {alarm.command && <pre>{alarm.command}</pre>}
        </div>
      ))}
    </section>
  );
}

function NodeTable({ status }: { status: GetStatusResponse }) {
  const members = new Map(status.membership?.members.map((member) => [member.nodeId, member]));
  return (
    <table class="cards">
      <caption class="sr">Nodes of the cluster</caption>
      <thead>
        <tr>
          {["Node", "Health", "Role", "Term", "Events", "Applied", "Lag", "Round trip", "Disk", "Version", "Clients"].map((name) => (
            <th key={name} scope="col">{name}</th>
          ))}
        </tr>
      </thead>
      <tbody>
        {status.nodes.map((node) => <NodeRow key={String(node.nodeId)} node={node} member={members.get(node.nodeId)} />)}
      </tbody>
    </table>
  );
}

function NodeRow({ node, member }: { node: NodeStatus; member: Member | undefined }) {
  const answers = node.version !== "";
  const known = (text: string) => (answers ? text : "–");
  const trip = member?.roundTripUs === undefined ? "–" : `${(Number(member.roundTripUs) / 1000).toFixed(1)} ms`;
  return (
    <tr>
      <th scope="row" data-label="Node">{String(node.nodeId)}</th>
      <td data-label="Health">
        <span class={node.healthy ? "badge good" : "badge bad"}>{node.healthy ? "healthy" : "not healthy"}</span>
        {node.reason && <span class="reason">{node.reason}</span>}
      </td>
      <td data-label="Role"><span class={node.role === Role.LEADER ? "badge lead" : ""}>{ROLES[node.role] ?? "not known"}</span></td>
      <td data-label="Term" class="number">{known(count(node.term))}</td>
      <td data-label="Events" class="number">{known(count(node.sequence))}</td>
      <td data-label="Applied" class="number">{known(count(node.appliedLogIndex))}</td>
      <td data-label="Lag" class="number">{node.lagEntries === undefined ? "–" : count(node.lagEntries)}</td>
      <td data-label="Round trip" class="number">{trip}</td>
      <td data-label="Disk" class="number">{known(bytes(node.diskBytes))}</td>
      <td data-label="Version">{known(node.version)}</td>
      <td data-label="Clients"><code>{node.clientEndpoint}</code></td>
    </tr>
  );
}
