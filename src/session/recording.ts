/**
 * The records of a run: opened before anybody is asked for a password, so that a file which can't
 * be written is said at once, and closed after everything that they tell of.
 */
import { randomBytes } from 'node:crypto';
import type { PacketTap } from '../capture/tun/device.ts';
import type { Configuration } from '../config/configuration.ts';
import { TunnelError } from '../errors/errors.ts';
import type { FlowWatcher } from '../flow/flowwatch.ts';
import type { LinkDialler } from '../link/link.ts';
import type { Observer } from '../observe/observer.ts';
import type { FlowLog, OwnerFinder } from '../record/flowlog.ts';
import type { PcapFile } from '../record/pcapfile.ts';
import { cleaned } from '../record/records.ts';
import { isDescribable } from '../ssh/established.ts';
import type { Transport } from '../ssh/transport.ts';
import { Accounts } from '../system/accounts.ts';
import type { TunnelIdentity } from './overview.ts';
import type { Session } from './session.ts';

const RUN_BYTES = 6;

export interface RecordingParts {
  readonly identity: TunnelIdentity;
  /** Whose the sockets are that connect. Must cost little: it is asked for each connection. */
  readonly finder: OwnerFinder;
  readonly namesOf: (address: string) => readonly string[];
  readonly observer: Observer;
}

export interface Recording {
  readonly watchers: readonly FlowWatcher[];
  /** For the device of this name. undefined: its packets are not recorded. */
  tap(device: string): PacketTap | undefined;
  /** Tells the records of each link that it makes. */
  dialler(dialler: LinkDialler): LinkDialler;
}

/** Rejects with TunnelError `record-file`. */
export async function openRecording(
  session: Session,
  configuration: Configuration,
  parts: RecordingParts,
): Promise<Recording> {
  const log = await openFlowLog(session, configuration, parts);
  const pcap = await openPcap(session, configuration, parts);
  return {
    watchers: [log, pcap].filter((it) => it !== undefined),
    tap(device) {
      pcap?.setDevice(device);
      return pcap;
    },
    dialler: (dialler) => (log === undefined ? dialler : recordedDialler(dialler, log)),
  };
}

async function openPcap(
  session: Session,
  { pcap: wanted }: Configuration,
  { identity, namesOf, observer }: RecordingParts,
): Promise<PcapFile | undefined> {
  if (wanted === undefined) return undefined;
  const { PcapFile } = await import('../record/pcapfile.ts');
  const application = `tunnel ${identity.version}`.trim();
  // Not within(): a file that is open late would have no owner.
  const file = await PcapFile.open({ ...wanted, application, namesOf, observer });
  return session.own('the file of packets', file, (it) => it.close());
}

async function openFlowLog(
  session: Session,
  configuration: Configuration,
  { identity, finder, namesOf, observer }: RecordingParts,
): Promise<FlowLog | undefined> {
  const { flowLog: wanted } = configuration;
  if (wanted === undefined) return undefined;
  const [{ FlowLog }, { Journal }, { LogFile }] = await Promise.all([
    import('../record/flowlog.ts'),
    import('../record/journal.ts'),
    import('../record/logfile.ts'),
  ]);
  // Not within(): a file that is open late would have no owner.
  const sink =
    wanted.kind === 'journal' ? Journal.open() : await LogFile.open({ ...wanted, observer });
  const accounts = await Accounts.read();
  const userName = (uid: number) => accounts.nameOf(uid);
  const run = randomBytes(RUN_BYTES).toString('hex');
  const log = session.own(
    'the flow log',
    new FlowLog({ sink, run, observer, finder, userName, namesOf }),
    (it) => it.close(reasonOfEnd(session)),
  );
  const uid = process.getuid?.();
  log.note('started', {
    name: cleaned(identity.name),
    command: identity.command,
    version: identity.version,
    pid: process.pid,
    uid,
    user: uid === undefined ? undefined : userName(uid),
    remote: configuration.ssh.remotes.map(({ text }) => cleaned(text)).join(' '),
  });
  return log;
}

function reasonOfEnd({ signal }: Session): string | undefined {
  const { reason } = signal;
  return reason instanceof TunnelError ? cleaned(reason.message) : undefined;
}

function recordedDialler(dialler: LinkDialler, log: FlowLog): LinkDialler {
  return {
    prepare: (...given) => dialler.prepare(...given),
    locate: (...given) => dialler.locate(...given),
    async dial(...given) {
      const transport = await dialler.dial(...given);
      recordLink(transport, log);
      return transport;
    },
  };
}

function recordLink(transport: Transport, log: FlowLog): void {
  const known = isDescribable(transport) ? transport.describe() : undefined;
  const jumpHost = known && cleaned(known.at);
  log.note('link-up', {
    jump_host: jumpHost,
    jump_user: known && cleaned(known.login.user),
    host_key: known?.hostKey && cleaned(known.hostKey.key),
    via: known === undefined || known.via.length === 0 ? undefined : cleaned(known.via.join(' ')),
    client: known && cleaned(known.client),
    key_exchange: known?.algorithms && cleaned(known.algorithms.kex),
  });
  void transport.ended.then((error) =>
    log.note('link-down', {
      jump_host: jumpHost,
      reason: error === undefined ? undefined : cleaned(error.message),
    }),
  );
}
