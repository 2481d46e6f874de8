/** What a session's proxies tell browsers. */
import assert from 'node:assert/strict';
import { get } from 'node:http';
import { describe, it } from 'node:test';
import { MAX_PAC_BYTES } from '../../../src/capture/proxy/pac.ts';
import { buildConfiguration } from '../../../src/config/options.ts';
import { runProxy } from '../../../src/session/proxy.ts';
import { MemoryMachine } from '../../support/memorymachine.ts';
import { given, type OptionTexts } from '../../support/options.ts';

interface Running {
  readonly messages: readonly string[];
  /** What it says after "for browsers: ". */
  readonly url: string | undefined;
  readonly script: string;
}

/** A proxy with these targets while it is ready, and what it serves. */
async function running(targets: readonly string[], options: OptionTexts = {}): Promise<Running> {
  const machine = new MemoryMachine();
  const texts = { remote: ['user@jump.example'], listen: ['0'], ...options };
  const configuration = buildConfiguration(given(texts, targets), 'proxy');
  const run = runProxy(configuration, machine.options());
  run.catch(() => {}); // looked at below
  await machine.said('ready');
  const messages = machine.messages.map(({ message }) => message);
  const [, url] = /^for browsers: (\S+)$/m.exec(messages.join('\n')) ?? [];
  const script = url === undefined ? '' : await read(url);
  machine.stop.abort();
  await assert.rejects(run, (error) => error === machine.stop.signal.reason);
  return { messages, url, script };
}

function read(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    get(url, { agent: false }, (answer) => {
      answer.setEncoding('utf8');
      let text = '';
      answer.on('data', (chunk: string) => {
        text += chunk;
      });
      answer.on('end', () => resolve(text));
    }).on('error', reject);
  });
}

describe('the proxies of a session', { timeout: 20_000 }, () => {
  it('tell browsers where the script is that sends them the targets', async () => {
    const { url = '', script } = await running(['10.0.0.0/8', '*.corp.example'], {
      exclude: ['10.1.0.0/16'],
    });
    assert.match(url, /^http:\/\/127\.0\.0\.1:\d+\/proxy\.pac$/);
    assert.match(script, new RegExp(`"PROXY ${new URL(url).host}"`));
    for (const key of ['10.0.0.0/8', '*.corp.example.', '10.1.0.0/16'])
      assert.ok(script.includes(`"${key}"`), key);
    assert.match(script, /tunnelEverything = false/);
  });

  it('send everything through where they carry everything', async () => {
    assert.match((await running([])).script, /tunnelEverything = true/);
    // Which they refuse then, and browsers dial.
    assert.match(
      (await running(['10.0.0.0/8'], { onlyTargets: true })).script,
      /tunnelEverything = false/,
    );
  });

  it('have none where no port speaks HTTP', async () => {
    const { url, messages } = await running(['10.0.0.0/8'], { listen: [], socks: ['0'] });
    assert.equal(url, undefined);
    assert.ok(messages.some((message) => message.startsWith('proxy at ')));
  });

  it('warn where there are more targets than browsers read', async () => {
    const name = `${'x'.repeat(60)}.example`;
    const targets = Array.from({ length: MAX_PAC_BYTES / 80 }, (_, index) => `h${index}.${name}`);
    const { url, messages } = await running(targets);
    assert.equal(url, undefined);
    assert.ok(messages.some((message) => /^there is no \/proxy\.pac for browsers/.test(message)));
  });
});
