/**
 * The forwards of a session: those of -L, and the LocalForward and DynamicForward lines of
 * ssh_config, beside whatever else captures, on the same link.
 *
 *   DynamicForward ──────► dynamicforwards.ts
 *   -L ───────────────┐
 *   LocalForward ─────┴─► without duplicates ─► where they listen (GatewayPorts) ─► ForwardCapture
 *                                               ─► flows, always through the tunnel
 *
 * As with ssh, one that can't listen is a warning, or with ExitOnForwardFailure the end. It is the
 * end as well if nothing is left to be carried. ClearAllForwardings clears those of -L, too. What a
 * forward opens is its owner's decision, so neither targets nor exclusions matter; the allow-list
 * does.
 */
import { resolve } from 'node:path';
import {
  ForwardCapture,
  type ForwardFailure,
  type OpenForward,
} from '../capture/forward/forward.ts';
import type { Configuration } from '../config/configuration.ts';
import { MAX_FORWARDS } from '../config/forwardoptions.ts';
import { UsageError } from '../errors/errors.ts';
import type { Flows } from '../flow/flows.ts';
import type { FlowRequest } from '../flow/request.ts';
import { type Forward, formatForward } from '../net/forward.ts';
import type { Observer } from '../observe/observer.ts';
import type { Policy } from '../policy/policy.ts';
import type { ForwardSettings } from '../ssh/settings.ts';
import { descriptorLimit } from '../system/limits.ts';
import { startDynamicForwards } from './dynamicforwards.ts';
import { isLoopback, listenHosts } from './listenhosts.ts';
import { livePolicy } from './names.ts';
import type { Session } from './session.ts';
import type { Tunnel } from './tunnel.ts';

const ALWAYS: Policy = { decide: () => ({ kind: 'tunnel' }) };

/**
 * Says what a reload makes of the forwards of -L. Throws UsageError if that can't be; nothing has
 * changed then, or before the function that it returns is called. That one changes them, and
 * resolves with what is worth saying.
 */
export type PlanForwards = (next: Configuration) => () => Promise<readonly string[]>;

/**
 * Starts those that are asked for. Rejects with TunnelError `forward-listen` if one can't listen
 * and that matters, with UsageError if there are too many, or with the session's reason.
 */
export async function startForwards(
  session: Session,
  tunnel: Tunnel,
  flows: Flows,
): Promise<PlanForwards> {
  const { configuration, observer } = tunnel;
  const settings = tunnel.forwards;
  for (const sentence of settings.unfit) observer.log('warning', sentence);
  if (settings.cleared && configuration.forwards.length > 0)
    observer.log('warning', 'ClearAllForwardings is set: nothing of -L is forwarded, as with ssh');
  const wanted = (of: Configuration) => openForwards(of.forwards, settings);
  const capture = session.own(
    'the forwards',
    new ForwardCapture({
      forwards: wanted(configuration),
      observer,
      descriptors: descriptorLimit(),
    }),
    (it) => it.close(),
  );
  const policy = livePolicy(tunnel, () => ALWAYS);
  const accept = (request: FlowRequest) => flows.accept(request, policy);
  await session.within(capture.start({ accept }, session.signal));
  const dynamic = await startDynamicForwards(session, tunnel, accept);
  const addresses = () => [...capture.addresses, ...dynamic];
  tunnel.overview.forwards = addresses;
  const nothingLeft =
    configuration.forwardsOnly && configuration.proxies === undefined && addresses().length === 0;
  judge(capture, { settings, nothingLeft, observer });
  for (const address of addresses()) observer.log('notice', `forwarding ${address}`);
  const failed = new Set(capture.failures.map(({ forward }) => forward.text));
  warnOfOthers(
    wanted(configuration).filter(({ text }) => !failed.has(text)),
    observer,
  );
  return (next) => {
    const forwards = wanted(next);
    return async () => {
      await session.within(capture.change(forwards));
      return capture.failures.map(({ error }) => error.message);
    };
  };
}

interface Judged {
  readonly settings: ForwardSettings;
  /** Nothing else is carried, either. */
  readonly nothingLeft: boolean;
  readonly observer: Observer;
}

/** Warns of those that can't listen. Throws TunnelError if that is the end. */
function judge({ failures }: ForwardCapture, { settings, nothingLeft, observer }: Judged): void {
  const { exitOnFailure, cleared } = settings;
  const [first] = failures;
  if (first !== undefined && (exitOnFailure || nothingLeft)) throw first.error;
  if (nothingLeft && cleared) {
    throw new UsageError('there is nothing to carry: ClearAllForwardings clears what -L asks for', {
      hint: 'leave ClearAllForwardings out of ssh_config or -o, or name a target',
    });
  }
  for (const failure of failures) warnOf(failure, observer);
}

function warnOf({ error }: ForwardFailure, observer: Observer): void {
  observer.log('warning', error.message, { hint: error.hint });
}

/** A port that other machines can connect to, as the user has asked for it. */
function warnOfOthers(forwards: readonly OpenForward[], observer: Observer): void {
  for (const { listen, destination, text } of forwards) {
    if (listen.kind !== 'port' || listen.hosts.every(isLoopback)) continue;
    observer.log(
      'warning',
      `whoever can connect to the port of ${text} reaches ${destination.host} through the jump host`,
    );
  }
}

/** Throws UsageError. */
function openForwards(
  ofLine: readonly Forward[],
  settings: ForwardSettings,
): readonly OpenForward[] {
  if (settings.cleared) return [];
  const all = new Map([...ofLine, ...settings.local].map((it) => [formatForward(it), it]));
  const count = all.size + settings.dynamic.length;
  if (count > MAX_FORWARDS) {
    throw new UsageError(
      `-L and ssh_config ask for ${count} forwards, at most ${MAX_FORWARDS} are possible`,
      { hint: 'reach whole networks with a TARGET, or any destination with "tunnel proxy"' },
    );
  }
  return [...all.values()].map((forward) => ({
    listen: placeOf(forward, settings),
    destination: forward.destination,
    text: forward.text,
  }));
}

function placeOf({ listen }: Forward, settings: ForwardSettings): OpenForward['listen'] {
  if (listen.kind === 'socket') {
    const mode = 0o777 & ~settings.socketMask;
    const { unlinksSockets: replaces } = settings;
    return { kind: 'socket', path: resolve(listen.path), mode, replaces };
  }
  return { kind: 'port', hosts: listenHosts(listen.host, settings), port: listen.port };
}
