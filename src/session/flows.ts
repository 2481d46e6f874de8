/** The flows of a session: made when a capture has what they need. */
import type { NameService } from '../dns/server/nameservice.ts';
import type { Connector } from '../flow/connector.ts';
import { Flows } from '../flow/flows.ts';
import type { Policy } from '../policy/policy.ts';
import { createNameOrAddress, createResolve } from './names.ts';
import type { Tunnel } from './tunnel.ts';

export interface FlowsParts {
  /** Decides which way each flow goes; it knows names and the allow-list (namedPolicy). */
  readonly policy: Policy;
  /** Dials past the tunnel. */
  readonly direct: Connector;
  /** What answers queries; undefined: nothing of the tunnel's does. */
  readonly names: NameService | undefined;
  /** Addresses that are resolved for a flow are kept with their names. Default: false. */
  readonly keepsLocalNames?: boolean;
}

/** What carries the flows of a capture through the tunnel and past it. */
export function createFlows(tunnel: Tunnel, parts: FlowsParts): Flows {
  const { names, direct, policy, keepsLocalNames = false } = parts;
  const { current, guard, book, connector, observer } = tunnel;
  // What works in another form is forgotten with the rules that permitted it.
  const opener = current.derived((configuration) =>
    createNameOrAddress({ configuration, guard, book, connector, observer }, names),
  );
  return new Flows({
    policy,
    tunnel: { connect: (destination, options) => opener().connect(destination, options) },
    direct,
    resolve: createResolve(names, keepsLocalNames ? tunnel.book.here : undefined),
    observer,
    watch: tunnel.watch,
  });
}
