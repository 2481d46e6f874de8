/** What systemd is told of the link and of questions, where no systemd is needed. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { AskedStatus } from '../../../src/control/status.ts';
import type { Self } from '../../../src/entry/self.ts';
import { Service } from '../../../src/entry/service.ts';
import type { Stop } from '../../../src/entry/signals.ts';
import { TunnelError } from '../../../src/errors/errors.ts';
import { Listeners } from '../../../src/link/linkstate.ts';
import { silentObserver } from '../../../src/observe/observer.ts';
import type { FollowedLink } from '../../../src/session/ready.ts';

describe('STATUS', () => {
  const said: string[] = [];
  const notifier = { active: false, send: (...all: string[]) => said.push(...all), close() {} };
  const self = { notifier, daemon: undefined } as unknown as Self;
  const stop = { signal: new AbortController().signal, now() {} } as unknown as Stop;
  const service = new Service(self, {} as never, stop, silentObserver);
  const changes = new Listeners();
  const onChange = (listener: () => void) => changes.add(listener);
  let view: object = { state: 'connecting', attempt: 1 };
  let question: AskedStatus | undefined;
  const link = { view: () => view, onChange } as unknown as FollowedLink;
  const questions = {
    get question() {
      return question;
    },
    onChange,
  };
  const told = (): string | undefined => {
    said.length = 0;
    changes.call();
    return said.at(-1);
  };

  it('says what is asked and where, and by which command a login can be answered', () => {
    const end = service.follow(link, questions, 'lab');
    assert.equal(said.at(-1), 'STATUS=Connecting');
    question = { text: 'Verification code:', at: 'tunnel', since: 0 };
    assert.equal(
      told(),
      "STATUS=Waiting for an answer at the tunnel's own terminal: Verification code:",
    );
    question = { ...question, at: 'caller' };
    assert.match(told() ?? '', /at the terminal that wants a new link: Verification code:$/);
    question = undefined;
    const error = new TunnelError('no-terminal', `nobody can be asked ${'x'.repeat(300)}`);
    view = { state: 'waiting', attempt: 1, error };
    const status = told() ?? '';
    assert.match(status, /^STATUS=Not connected: .*"tunnel reconnect lab" asks at its terminal/);
    assert.ok(status.length < 220, 'it is cut');
    view = { state: 'waiting', attempt: 1, error: new TunnelError('auth-failed', 'refused') };
    assert.equal(told(), 'STATUS=Not connected: refused');
    end();
    view = { state: 'up' };
    assert.equal(told(), undefined, 'it follows no more');
  });
});
