/**
 * The embedded transport's way up, against real sshds: keys, host keys, algorithms, and a link that
 * falls silent.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { isDescribable } from '../../../../../src/ssh/established.ts';
import { createHostKeyVerifier } from '../../../../../src/ssh/hostkeys/verifier.ts';
import type { SshSettings } from '../../../../../src/ssh/settings.ts';
import { closedPort, triesAt } from '../../../../support/dialtries.ts';
import { LogLines } from '../../../../support/embedded.ts';
import { LoopbackSshd, makeKey, sshdMissing } from '../../../../support/loopback-sshd.ts';
import { Answers, hostKeySettings, pinned } from '../../../../support/settings.ts';
import { startAgent } from '../../../../support/sshagent.ts';

const PASSPHRASE = 'correct horse';

let sshd: LoopbackSshd;
let agent: ChildProcess;
let agentSocket: string;

const { dial, rejected, accepted } = triesAt(() => sshd);

const key = (name: string): string => join(sshd.directory, name);

describe('dialSsh2 against a real sshd', { skip: sshdMissing }, () => {
  before(async () => {
    sshd = await LoopbackSshd.start({
      config: ['PubkeyAcceptedAlgorithms -ssh-rsa', 'LogLevel DEBUG2'],
    });
    await makeKey(key('encrypted'), 'ed25519', ['-N', PASSPHRASE, '-a', '4']);
    await makeKey(key('hidden'), 'rsa', ['-m', 'PEM', '-N', PASSPHRASE]);
    await makeKey(key('rsa'), 'rsa');
    await makeKey(key('ecdsa'), 'ecdsa');
    await makeKey(key('stranger'), 'ed25519');
    await makeKey(key('stranger-encrypted'), 'ed25519', ['-N', PASSPHRASE, '-a', '4']);
    const authorized = ['encrypted', 'hidden', 'rsa', 'ecdsa'].map((name) =>
      readFileSync(key(`${name}.pub`), 'utf8'),
    );
    execFileSync('tee', ['-a', key('authorized_keys')], {
      input: authorized.join(''),
      stdio: ['pipe', 'ignore', 'inherit'],
    });
    agentSocket = key('agent');
    agent = await startAgent(agentSocket, [key('rsa')]);
  });
  after(async () => {
    agent.kill();
    await sshd.stop();
  });

  it('describes the server with its comments', async () => {
    const transport = await dial({ files: [key('user_key')] });
    const socket = connect(sshd.port, '127.0.0.1');
    const [line] = (await once(socket, 'data')) as [Buffer];
    socket.destroy();
    assert.ok(isDescribable(transport));
    assert.equal(`SSH-2.0-${transport.describe().software}`, line.toString('latin1').trimEnd());
    assert.match(line.toString('latin1'), / /, 'this sshd has no comments');
    await transport.close();
  });

  for (const name of ['user_key', 'rsa', 'ecdsa'])
    it(`a key file: ${name}`, () => accepted({ files: [key(name)] }));

  it('a real ssh-agent, with an RSA key, at a server that refuses ssh-rsa signatures', () =>
    accepted({ agentSocket }));

  it('the right passphrase, on the second try', async () => {
    const prompter = new Answers('wrong', PASSPHRASE);
    const observer = new LogLines();
    await accepted({ files: [key('encrypted')], prompter, options: { observer } });
    assert.deepEqual(prompter.asked, Array(2).fill(`secret: Passphrase for ${key('encrypted')}:`));
    assert.ok(!observer.lines.join('\n').includes(PASSPHRASE));
    assert.match(
      observer.lines.join('\n'),
      /notice: that is not the passphrase of .*encrypted; try again/,
    );
  });

  it('three wrong passphrases: the key is left out, and the next one is tried', async () => {
    const prompter = new Answers('a', 'b', 'c', 'd');
    await accepted({ files: [key('encrypted'), key('user_key')], prompter });
    assert.equal(prompter.asked.length, 3);
  });

  it('no passphrase is asked for a key that the server does not want', async () => {
    const prompter = new Answers();
    const error = await rejected({ files: [key('stranger-encrypted')], prompter });
    assert.equal(error.code, 'auth-failed');
    assert.deepEqual(prompter.asked, []);
  });

  it('a key whose public half is hidden has its passphrase asked for when its turn comes', async () => {
    execFileSync('rm', [key('hidden.pub')]);
    const prompter = new Answers(PASSPHRASE);
    await accepted({ files: [key('stranger'), key('hidden')], prompter });
    assert.equal(prompter.asked.length, 1);
    const unasked = new Answers();
    await accepted({ files: [key('user_key'), key('hidden')], prompter: unasked });
    assert.deepEqual(unasked.asked, []);
  });

  it('no terminal: the key is left out with a warning', async () => {
    const observer = new LogLines();
    const error = await rejected({ files: [key('encrypted')], options: { observer } });
    assert.equal(error.code, 'no-terminal');
    assert.match(error.message, /not usable: .*encrypted/);
    assert.match(
      observer.lines.join('\n'),
      /warning: key .*encrypted is left out: it is encrypted, and nobody can be asked/,
    );
  });

  it('a prompt does not count against the time for authentication', async () => {
    const prompter = new Answers();
    const slow = async (): Promise<string> => {
      await new Promise((resolve) => setTimeout(resolve, 1500));
      return PASSPHRASE;
    };
    await accepted({
      files: [key('encrypted')],
      prompter: {
        canAsk: () => true,
        secret: slow,
        line: prompter.line,
        confirm: prompter.confirm,
      },
      settings: { authTimeout: 1 },
    });
  });

  it('a wrong key: the error names the permitted methods and what was tried', async () => {
    const error = await rejected({ files: [key('stranger')] });
    assert.equal(error.code, 'auth-failed');
    assert.match(
      error.message,
      /permits publickey; 1 key was offered; tried .*stranger \(ssh-ed25519 SHA256:/,
    );
    assert.ok(error.hint !== undefined);
  });

  it('an unknown user looks the same', async () => {
    const error = await rejected({
      files: [key('user_key')],
      settings: { user: 'nobody-of-that-name' },
    });
    assert.equal(error.code, 'auth-failed');
    assert.match(error.message, /"nobody-of-that-name"/);
  });

  it('no key at all', async () => {
    const error = await rejected({});
    assert.equal(error.code, 'auth-failed');
    assert.match(error.message, /no key was offered/);
    assert.match(error.hint ?? '', /-i/);
  });

  it('more keys than the server wants to see', async () => {
    const files: string[] = [];
    for (let i = 0; i < 8; i++) {
      await makeKey(key(`many${i}`), 'ed25519');
      files.push(key(`many${i}`));
    }
    const error = await rejected({ files });
    assert.equal(error.code, 'auth-failed');
    assert.match(
      error.message,
      /too many refused keys or answers \(its MaxAuthTries\).*; 2 more were not offered/,
    );
    assert.match(error.hint ?? '', /-i/);
  });

  it('a changed host key: sshd has seen no authentication request, nor a user name', async () => {
    const other = readFileSync(key('stranger.pub'), 'utf8');
    const seenBefore = (await sshd.log()).length;
    const error = await rejected({ files: [key('user_key')], pins: [other] });
    assert.equal(error.code, 'host-key-changed');
    await new Promise((resolve) => setTimeout(resolve, 300));
    const log = (await sshd.log()).slice(seenBefore);
    assert.match(log, /kex: algorithm/, 'key exchange was logged');
    assert.doesNotMatch(log, /userauth|service.request|Failed|for user/i);
    // That the log would have shown it:
    const seen = (await sshd.log()).length;
    await accepted({ files: [key('user_key')] });
    assert.match((await sshd.log()).slice(seen), /userauth-request for user/);
  });

  it('an unknown host key is shown, and nothing is sent', async () => {
    const hostKeys = createHostKeyVerifier(hostKeySettings(), {
      prompter: undefined,
      observer: new LogLines(),
    });
    const error = await rejected({ files: [key('user_key')], hostKeys });
    assert.equal(error.code, 'host-key-unknown');
    const shown = execFileSync('ssh-keygen', ['-lf', key('host_ed25519.pub')], {
      encoding: 'utf8',
    }).split(' ')[1];
    assert.ok(error.message.includes(`ssh-ed25519 ${shown}`));
  });

  it('the limits of what may be received are those that were given', async () => {
    const counted: string[] = [];
    const observer = { log: () => {}, count: (name: string) => counted.push(name) };
    const transport = await dial({
      files: [sshd.userKey],
      options: { observer, windows: { budget: 2 * 1024 * 1024, maxWindow: 64 * 1024 } },
    });
    const here = { host: '127.0.0.1', port: sshd.port };
    await transport.connect(here);
    assert.deepEqual(counted, []);
    await transport.connect(here);
    assert.deepEqual(
      counted,
      ['tunnel_window_budget_total'],
      'a sixteenth of what half of the budget has left is less',
    );
    await transport.close();
  });

  it('abort while it dials', async () => {
    const controller = new AbortController();
    const reason = new Error('stop');
    const attempt = dial({ files: [key('user_key')], options: { signal: controller.signal } });
    controller.abort(reason);
    await assert.rejects(attempt, reason);
  });

  it('abort while the host key is judged: what ssh2 ends after that begins nothing', async () => {
    const controller = new AbortController();
    const reason = new Error('stop');
    const line = (await sshd.knownHostsLine()).split(' ').slice(1).join(' ');
    const options = { prompter: undefined, observer: new LogLines() };
    const verifier = createHostKeyVerifier(pinned(line), options);
    const judged = new Promise<void>((resolve) => {
      const verify = verifier.verify.bind(verifier);
      verifier.verify = async (...args) => {
        const key = await verify(...args);
        controller.abort(reason);
        setImmediate(resolve);
        return key;
      };
    });
    const timers = () => process.getActiveResourcesInfo().filter((it) => it === 'Timeout').length;
    const before = timers();
    const attempt = dial({
      files: [key('user_key')],
      hostKeys: verifier,
      options: { signal: controller.signal },
    });
    await assert.rejects(attempt, reason);
    await judged;
    assert.equal(timers(), before);
  });

  it('the next address is tried when one is refused; several failures are reported together', async () => {
    const refusing = { host: '127.0.0.1', port: await closedPort() };
    await accepted({
      files: [key('user_key')],
      addresses: [refusing, { host: '127.0.0.1', port: sshd.port }],
    });
    const error = await rejected({
      addresses: [refusing, { host: '::1', port: refusing.port }],
    });
    assert.equal(error.code, 'jumphost-refused');
    assert.match(error.message, /127\.0\.0\.1:\d+ .*; \[::1\]:\d+ /);
  });
});

describe('dialSsh2 against other sshds', { skip: sshdMissing }, () => {
  const withSshd = async (
    options: Parameters<typeof LoopbackSshd.start>[0],
    body: (server: LoopbackSshd) => Promise<void>,
  ): Promise<void> => {
    const server = await LoopbackSshd.start(options);
    try {
      await body(server);
    } finally {
      await server.stop();
    }
  };

  it('a server with several host keys shows the one that is known', () =>
    withSshd({ hostKeys: ['ed25519', 'ecdsa', 'rsa'] }, async (server) => {
      for (const type of ['rsa', 'ecdsa', 'ed25519']) {
        const line = await server.knownHostsLine(type);
        await accepted({
          server,
          files: [server.userKey],
          pins: [line.split(' ').slice(1).join(' ')],
        });
      }
    }));

  it('algorithms that nobody should use: the error lists what the server offers', () =>
    withSshd({ config: ['Ciphers aes128-cbc'] }, async (server) => {
      const error = await rejected({ server, files: [server.userKey] });
      assert.equal(error.code, 'jumphost-no-common-algorithm');
      assert.match(error.message, /no cipher in common; it offers aes128-cbc/);
    }));

  it('no MAC and no host key type in common: each is named, with what to do', async () => {
    await withSshd(
      { config: ['Ciphers aes128-ctr', 'MACs umac-64@openssh.com'] },
      async (server) => {
        const error = await rejected({ server, files: [server.userKey] });
        assert.equal(error.code, 'jumphost-no-common-algorithm');
        assert.match(error.message, /no MAC in common; it offers umac-64@openssh\.com/);
        assert.match(error.hint ?? '', /--transport openssh/);
      },
    );
    await withSshd({}, async (server) => {
      const algorithms = {
        kex: undefined,
        ciphers: undefined,
        macs: undefined,
        hostKeys: ['rsa-sha2-512'],
      };
      const error = await rejected({ server, files: [server.userKey], settings: { algorithms } });
      assert.equal(error.code, 'jumphost-no-common-algorithm');
      assert.match(error.message, /no host key type in common; it offers ssh-ed25519/);
    });
  });

  it('settings choose what is offered: an old cipher of an old server, a key exchange of a list written for OpenSSH', () =>
    withSshd({ config: ['Ciphers aes256-cbc', 'MACs hmac-sha1'] }, async (server) => {
      const observer = new LogLines();
      const algorithms = {
        kex: ['mlkem1024nistp384-sha384', 'ecdh-sha2-nistp521'],
        ciphers: ['aes256-cbc'],
        macs: ['hmac-sha1'],
        hostKeys: undefined,
      };
      await accepted({
        server,
        files: [server.userKey],
        settings: { algorithms },
        options: { observer },
      });
      assert.match(observer.lines.join('\n'), /KexAlgorithms: .* ignores mlkem1024nistp384-sha384/);
      assert.match(await server.log(), /kex: algorithm: ecdh-sha2-nistp521/);
      assert.match(await server.log(), /cipher: aes256-cbc MAC: hmac-sha1 /);
      const none = { ...algorithms, kex: ['sntrup761x25519-sha512@openssh.com'] };
      const error = await rejected({
        server,
        files: [server.userKey],
        settings: { algorithms: none },
      });
      assert.equal(error.code, 'algorithms-unknown');
      assert.match(
        error.message,
        /none of KexAlgorithms sntrup761x25519-sha512@openssh\.com; it knows mlkem768x25519/,
      );
      assert.match(error.hint ?? '', /--transport openssh/);
    }));

  it('an old server lacks much: all of it is named, and what the hint says gets in', () =>
    withSshd(
      {
        hostKeys: ['ed25519', 'rsa'],
        config: [
          'KexAlgorithms diffie-hellman-group14-sha1,diffie-hellman-group1-sha1',
          'HostKeyAlgorithms ssh-rsa',
          'Ciphers aes128-cbc,3des-cbc',
          'MACs hmac-sha1',
        ],
      },
      async (server) => {
        const line = await server.knownHostsLine('rsa');
        const tried = {
          server,
          files: [server.userKey],
          pins: [line.split(' ').slice(1).join(' ')],
        };
        const error = await rejected(tried);
        assert.equal(error.code, 'jumphost-no-common-algorithm');
        assert.match(
          error.message,
          /key exchange algorithm in common; it offers diffie-hellman-gr/,
        );
        assert.match(
          error.message,
          /no host key type: it offers ssh-rsa, and no cipher: .*, and n/,
        );
        const allowed = Object.fromEntries(
          [...(error.hint ?? '').matchAll(/-o (\w+)=\+(\S+?)(?=[ ,])/g)].map(
            ([, keyword, name]) => [keyword, [name]],
          ),
        );
        const { KexAlgorithms: kex, Ciphers: ciphers, MACs: macs, HostKeyAlgorithms } = allowed;
        const algorithms = {
          kex,
          ciphers,
          macs,
          hostKeys: HostKeyAlgorithms,
        } as SshSettings['algorithms'];
        await accepted({ ...tried, settings: { algorithms } });
        assert.match(
          error.hint ?? '',
          /in ssh_config with "KexAlgorithms \+diffie-hellman-group14-s/,
        );
      },
    ));

  it('a post-quantum key exchange only', () =>
    withSshd({ config: ['KexAlgorithms sntrup761x25519-sha512@openssh.com'] }, async (server) => {
      const error = await rejected({ server, files: [server.userKey] });
      assert.equal(error.code, 'jumphost-no-common-algorithm');
      assert.match(error.message, /sntrup761x25519/);
    }));

  it('password only: says what the server wants', () =>
    withSshd(
      { config: ['PubkeyAuthentication no', 'PasswordAuthentication yes'] },
      async (server) => {
        const error = await rejected({ server, files: [server.userKey] });
        assert.equal(error.code, 'no-terminal');
        assert.match(
          error.message,
          /permits password; no key was offered; nobody could be asked for password$/,
        );
      },
    ));

  it('a key and something else: says that the key was accepted', () =>
    withSshd(
      { config: ['AuthenticationMethods publickey,password', 'PasswordAuthentication yes'] },
      async (server) => {
        const error = await rejected({ server, files: [server.userKey] });
        assert.equal(error.code, 'no-terminal');
        assert.match(error.message, /accepted .*user_key .*, but also wants password/);
      },
    ));

  it('too many connections: the server is not blamed for not speaking SSH', () =>
    withSshd({ config: ['MaxStartups 1:100:1'] }, async (server) => {
      // The connection with which the server was found to be up may still count: then this one is
      // turned away.
      let blocker: Socket;
      let first = '';
      do {
        blocker = connect(server.port, '127.0.0.1');
        first = String((await once(blocker, 'data'))[0]);
      } while (!first.startsWith('SSH-'));
      const error = await rejected({ server, files: [server.userKey] });
      assert.equal(error.code, 'jumphost-closed', error.message);
      blocker.destroy();
    }));

  it('the banner is shown without control characters', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tunnel-banner-'));
    const banner = join(directory, 'banner');
    writeFileSync(banner, '\n\u001b]0;evil\u0007Authorized use only\r\n\nsecond\u009b2J line\n\n');
    await withSshd({ config: [`Banner ${banner}`] }, async (server) => {
      const observer = new LogLines();
      await accepted({ server, files: [server.userKey], options: { observer } });
      const shown = observer.lines.filter((line) => line.startsWith('notice: '));
      // With the host's name, so that no line passes for one of this program's own.
      assert.match(shown[0] ?? '', /^notice: \S+: .*Authorized use only$/);
      assert.match(shown[2] ?? '', /^notice: \S+: second.* line$/);
      assert.equal(shown.length, 3);
      assert.doesNotMatch(shown.join(''), /[\u0000-\u001f\u007f-\u009f]/);
    });
    rmSync(directory, { recursive: true });
  });
});

describe('keepalive', { skip: sshdMissing, timeout: 20_000 }, () => {
  it('a jump host that no longer answers: link-lost', async () => {
    const server = await LoopbackSshd.start();
    try {
      const settings = { keepalive: { interval: 0.2, count: 3 } };
      const transport = await dial({ server, files: [server.userKey], settings });
      // A link that is answered outlives what a silent one does not.
      const early = await Promise.race([
        transport.ended,
        new Promise((resolve) => setTimeout(resolve, 1200, 'up')),
      ]);
      assert.equal(early, 'up');
      const before = Date.now();
      await server.stopConnections();
      const ended = await transport.ended;
      assert.equal(ended?.code, 'link-lost');
      assert.match(ended.message, /no longer answers keepalives/);
      const took = Date.now() - before;
      assert.ok(took > 400 && took < 3000, `${took} ms`);
    } finally {
      await server.stop();
    }
  });
});
