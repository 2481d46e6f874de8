import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { HostResolvers } from '../../../src/session/hostresolvers.ts';
import type { ResolverPlan, ResolverStep } from '../../../src/system/resolver/detect.ts';

const OWN: ReadonlySet<string> = new Set(['198.18.63.53']);
const FILE: ResolverStep = { kind: 'file', why: 'programs ask fe80::53%eth0' };
const RESOLVED: ResolverStep = { kind: 'resolved' };

function routes(...addresses: readonly string[]): ResolverStep {
  return { kind: 'routes', addresses };
}

function planOf(resolver: string, ...steps: readonly ResolverStep[]): ResolverPlan {
  return { resolvers: [resolver], uplinks: [resolver], steps };
}

/** The resolvers after a change, and what was said about it. */
function change(before: ResolverPlan, now: ResolverPlan) {
  let plan = before;
  const said: string[] = [];
  const resolvers = new HostResolvers(
    { resolverPlan: () => plan },
    { log: (level, text) => void said.push(`${level}: ${text}`), count() {} },
  );
  plan = now;
  const isNew = resolvers.update(OWN);
  return { isNew, said, routed: [...resolvers.routed] };
}

const lost = (resolver: string) => [
  `warning: resolv.conf was rewritten and names ${resolver}: names that are asked for there are not the tunnel's; start it again`,
];

describe("this machine's resolvers, when they change", () => {
  it('are captured by routes from then on, and so are the earlier ones', () => {
    const found = change(planOf('10.0.0.1', routes('10.0.0.1')), planOf('::2', routes('::2')));
    assert.deepEqual(found, { isNew: true, said: [], routed: ['10.0.0.1', '::2'] });
  });

  it('are captured by routes, too, where the file was rewritten before', () => {
    const found = change(planOf('fe80::53%eth0', FILE), planOf('10.0.0.1', routes('10.0.0.1')));
    assert.deepEqual(found, { isNew: true, said: [], routed: ['10.0.0.1'] });
  });

  it('are said to be lost where the file would have to be rewritten', () => {
    const now = planOf('fe80::1%eth0', FILE);
    const routed = planOf('10.0.0.1', routes('10.0.0.1'));
    assert.deepEqual(change(routed, now).said, lost('fe80::1%eth0'));
    assert.deepEqual(change(planOf('fe80::53%eth0', FILE), now).said, lost('fe80::1%eth0'));
  });

  it('are said to be lost where systemd-resolved is asked from now on, not where it was', () => {
    const routed = planOf('10.0.0.1', routes('10.0.0.1'));
    assert.deepEqual(change(routed, planOf('127.0.0.53', RESOLVED)).said, lost('127.0.0.53'));
    assert.deepEqual(change(planOf('10.0.0.9', RESOLVED), planOf('10.0.0.1', RESOLVED)).said, []);
  });

  it('are the same when nothing has changed, or the file is the own one', () => {
    const routed = planOf('10.0.0.1', routes('10.0.0.1'));
    assert.equal(change(routed, routed).isNew, false);
    assert.equal(change(routed, planOf('198.18.63.53', FILE)).isNew, false);
  });
});
