/**
 * The user-data of `tunnel jumphost cloud-init` on a machine that boots with it: cloud-init itself
 * reads it and runs what it says, and the sshd that comes of it is used through the tunnel.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { knows, parseSshdVersion } from '../../src/jumphost/versions.ts';
import { API1, API1_NAME, JUMPHOST4 } from '../support/addresses.ts';
import { cloudInitUnavailable } from '../support/cloudinit.ts';
import { ADMINISTRATOR, type CloudImage, CloudMachine } from '../support/cloudmachine.ts';
import { installedOpenssh } from '../support/installedopenssh.ts';
import { JumpHostFiles, LISTED, UNLISTED } from '../support/jumphostfiles.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import { mustRun } from '../support/process.ts';
import { MAIN } from '../support/tunnel.ts';

const GUIDE = fileURLToPath(new URL('../../../docs/provision.md', import.meta.url));
const USER = 'tunnel';
const skip = labUnavailable('curl', 'nsenter', 'unshare', 'ssh-keygen') || cloudInitUnavailable();

describe('a machine that boots with user-data of cloud-init', { skip, timeout: 300_000 }, () => {
  let lab: Lab;
  let files: JumpHostFiles;
  const machines: CloudMachine[] = [];
  before(async () => {
    files = new JumpHostFiles();
    lab = await Lab.create();
  });
  after(async () => {
    for (const machine of machines) await machine.close();
    await lab?.close();
    files?.remove();
  });

  /** The user's key. The administrator's is the other. */
  const key = () => lab.credentials.keys.authorized;
  const administratorKey = () => lab.credentials.keys.stranger;

  async function boot(
    args: readonly string[],
    image: Partial<CloudImage> = {},
  ): Promise<CloudMachine> {
    const last = machines.at(-1);
    if (last !== undefined) await last.close();
    const output = await files.render('cloud-init', ...args);
    const machine = await CloudMachine.boot(lab, `machine-${machines.length}`, {
      userData: readFileSync(join(output, 'user-data'), 'utf8'),
      key: readFileSync(`${administratorKey()}.pub`, 'utf8').trim(),
      ...image,
    });
    machines.push(machine);
    return machine;
  }
  const own = () => ['--key', `${key()}.pub`];

  /** ssh with a key, and with what the client knows of hosts. */
  const ssh = (
    user: string,
    identity: string,
    args: readonly string[],
    { port = 22, knownHosts = '/dev/null', input = '' } = {},
  ) => {
    const options = {
      IdentityFile: identity,
      IdentitiesOnly: 'yes',
      BatchMode: 'yes',
      UserKnownHostsFile: knownHosts,
      StrictHostKeyChecking: knownHosts === '/dev/null' ? 'no' : 'yes',
    };
    const given = Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
    const argv = ['ssh', '-F', 'none', ...given, '-p', String(port), '-l', user];
    return lab.client.exec([...argv, ...args], { input, timeout: 20_000 });
  };
  const GET = 'GET / HTTP/1.0\r\n\r\n';
  const reaches = async (place: string, port = 22) =>
    /^(HTTP\/1|GET|SSH-2)/.test(
      (await ssh(USER, key(), ['-W', place, JUMPHOST4], { port, input: GET })).stdout,
    );
  const administers = async (port = 22) =>
    (
      await ssh(ADMINISTRATOR, administratorKey(), [JUMPHOST4, 'id -un'], { port })
    ).stdout.trim() === ADMINISTRATOR;

  /** What the console says in its own lines. */
  const said = (machine: CloudMachine, what: RegExp): string => {
    const [, value] = what.exec(machine.console) ?? [];
    return value ?? assert.fail(`${what} is not in:\n${machine.console}`);
  };

  describe('without more', () => {
    let machine: CloudMachine;
    before(async () => {
      machine = await boot(own());
    });

    it('says that it is ready, and its host key as users pin it', async () => {
      assert.match(machine.console, /^tunnel-jumphost: READY\r?$/m);
      const pin = said(machine, /^tunnel-jumphost: --host-key (SHA256:\S+)/m);
      const there = await machine.script('ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub');
      assert.equal(there.split(' ')[1], pin);
      const known = said(machine, /^tunnel-jumphost: known_hosts: ADDRESS (ssh-ed25519 \S+)/m);
      // As cloud-init prints them itself.
      assert.ok(machine.console.includes(`BEGIN SSH HOST KEY KEYS-----\n${known} `));
      assert.match(machine.console, new RegExp(`256 ${pin.replaceAll('+', '\\+')} `));
      assert.equal(
        await machine.script('ls /etc/ssh/ssh_host_*_key'),
        '/etc/ssh/ssh_host_ed25519_key\n',
      );
    });

    it('carries proxy for who pins that key', async () => {
      const pin = said(machine, /--host-key (SHA256:\S+)/);
      const argv = ['proxy', '-r', `${USER}@${JUMPHOST4}`, '-i', key(), '--host-key', pin];
      const proxy = await lab.client.spawn([
        ...[process.execPath, MAIN, ...argv],
        ...[`${API1_NAME}:80`, `${API1}:80`, '10.77.0.0/16'],
      ]);
      await proxy.waitForLine(/tunnel: ready\n/, 20_000);
      const [, port] = await proxy.waitForLine(/proxy at \S+:(\d+)/);
      const ask = async (url: string) => {
        const argv = ['curl', '-sS', '-m', '10', '--socks5-hostname', `127.0.0.1:${port}`, url];
        return (await lab.client.exec(argv)).stdout;
      };
      assert.match(await ask(`http://${API1_NAME}/`), /"peer"/);
      assert.match(await ask(`http://${API1}/`), /"peer"/);
      assert.equal(await ask('http://10.77.0.12/'), '');
      await proxy.stop('SIGINT');
    });

    it('reaches what is listed, and nothing else', async () => {
      for (const place of LISTED) assert.ok(await reaches(place), place);
      for (const place of UNLISTED) assert.ok(!(await reaches(place)), place);
    });

    it('gives users no shell, and nobody a password', async () => {
      const { stdout, status } = await ssh(USER, key(), [JUMPHOST4, 'echo ran'], { input: 'id\n' });
      assert.deepEqual({ stdout, status }, { stdout: '', status: 255 });
      for (const user of [USER, ADMINISTRATOR, 'root']) {
        const { stderr } = await ssh(user, '/dev/null', [JUMPHOST4, 'true']);
        assert.match(stderr, /Permission denied \(publickey\)/, user);
      }
    });

    it('lets its administrator in, and not the user as one', async () => {
      assert.ok(await administers());
      assert.match(
        (await ssh(ADMINISTRATOR, key(), [JUMPHOST4, 'id'])).stderr,
        /Permission denied/,
      );
      assert.match((await ssh(USER, administratorKey(), ['-N', JUMPHOST4])).stderr, /denied/);
    });

    it('gives each key the options, too, in a file of its user', async () => {
      const [line = '', ...more] = (
        await machine.script(
          'stat -c "%a %U" ~tunnel/.ssh/authorized_keys && cat ~tunnel/.ssh/authorized_keys',
        )
      ).split('\n');
      assert.equal(line, '600 tunnel');
      assert.match(
        more[0] ?? '',
        /^restrict,port-forwarding,permitopen="\S+",command="\/bin\/false" ssh-ed25519 /,
      );
      assert.equal(more[0]?.replace(/^\S+ /, ''), readFileSync(`${key()}.pub`, 'utf8').trim());
    });

    it('asks for unattended upgrades', async () => {
      assert.match(await machine.calls(), /^apt-get .* install -y unattended-upgrades$/m);
      assert.match(
        await machine.script('cat /etc/apt/apt.conf.d/52tunnel-upgrades'),
        /^APT::Periodic::Unattended-Upgrade "1";$/m,
      );
    });

    it('has the same when its script runs again', async () => {
      const files =
        'cat /etc/passwd /etc/group /etc/shadow ~tunnel/.ssh/* /etc/ssh/sshd_config* /etc/ssh/sshd_config.d/* 2>/dev/null || true';
      const before = await machine.script(files);
      assert.match(await machine.script('sh /var/lib/tunnel-jumphost/setup'), /READY$/m);
      assert.equal(await machine.script(files), before);
      assert.ok(await reaches(`${API1}:80`));
    });
  });

  it('is changed by another rendering as docs/provision.md says', async () => {
    const machine = await boot(own());
    assert.ok(await reaches(`${API1}:80`));
    const output = await files.render('cloud-init', '--key', `${administratorKey()}.pub`);
    const userData = readFileSync(join(output, 'user-data'), 'utf8');
    await machine.exec(['tee', '/tmp/user-data'], userData);
    const guide = readFileSync(GUIDE, 'utf8');
    const [commands = ''] = /^ {2}'cd \/tmp(?:.|\n)*?'$/m.exec(guide) ?? [];
    const usage = await machine.script('cloud-init single --help');
    const single = 'single --file user-data';
    const known = usage.includes('--file')
      ? commands
      : commands.replace(single, '--file user-data single');
    await machine.script(known.replaceAll("'", '').replaceAll('sudo ', ''));
    assert.ok(!(await reaches(`${API1}:80`)));
    const { stdout } = await ssh(USER, administratorKey(), ['-W', `${API1}:80`, JUMPHOST4], {
      input: GET,
    });
    assert.match(stdout, /^HTTP\/1/);
  });

  const knowsAll = knows(parseSshdVersion(installedOpenssh()), 'mlkem');
  it('takes the drop-in back where sshd is too old for it, and admits no user', {
    skip: knowsAll && 'the sshd of this machine knows all that is ever rendered',
  }, async () => {
    const machine = await boot([...own(), '--openssh', '10.2']);
    assert.match(machine.console, /^tunnel-jumphost: sshd refuses its files: .*OpenSSH_/m);
    assert.match(machine.console, /^tunnel-jumphost: NOT READY/m);
    assert.doesNotMatch(machine.console, /: READY/);
    assert.ok(await administers());
    assert.match((await ssh(USER, key(), ['-N', JUMPHOST4])).stderr, /Permission denied/);
    assert.doesNotMatch(await machine.script('ls /etc/ssh/sshd_config.d'), /tunnel/);
    await machine.script('sshd -t');
  });

  it('does so, too, where another file overrules it', async () => {
    const machine = await boot(own(), {
      files: { 'etc/ssh/sshd_config.d/00-own.conf': 'PasswordAuthentication yes\n' },
    });
    assert.match(machine.console, /lets passwords in$/m);
    assert.doesNotMatch(await machine.script('ls /etc/ssh/sshd_config.d'), /tunnel/);
    assert.ok(await administers());
  });

  it('and where one lets the group forward anywhere, though it has no sessions', async () => {
    const machine = await boot(own(), {
      files: { 'etc/ssh/sshd_config.d/00-own.conf': 'Match all\nPermitOpen any\n' },
    });
    assert.match(machine.console, /overrules the drop-in for tunnel: permitopen\r?$/m);
    assert.doesNotMatch(machine.console, /: READY/);
    assert.match((await ssh(USER, key(), ['-N', JUMPHOST4])).stderr, /Permission denied/);
  });

  it('and where sshd does not answer in the end, with its files as they were', async () => {
    const machine = await boot(own(), {
      files: { 'etc/ssh/sshd_config.d/00-own.conf': `ListenAddress ${JUMPHOST4}\n` },
    });
    assert.match(machine.console, /^tunnel-jumphost: sshd does not answer at port 22/m);
    assert.match(machine.console, /: NOT READY/);
    assert.doesNotMatch(await machine.script('ls /etc/ssh/sshd_config.d'), /tunnel/);
    assert.ok(await administers());
    assert.match((await ssh(USER, key(), ['-N', JUMPHOST4])).stderr, /Permission denied/);
  });

  it('leaves an account alone that the image has already', async () => {
    const more = (file: string, line: string) => `${readFileSync(file, 'utf8').trim()}\n${line}\n`;
    const machine = await boot([...own(), '--user', 'monitoring'], {
      files: {
        'etc/passwd': more('/etc/passwd', 'monitoring:x:990:990::/nonexistent:/usr/sbin/nologin'),
        'etc/group': more('/etc/group', 'monitoring:x:990:'),
      },
    });
    assert.match(machine.console, /monitoring is somebody else on this image/);
    assert.equal(await machine.script('id -gn monitoring'), 'monitoring\n');
    assert.ok(await administers());
  });

  it('moves the port of an image with ssh.socket, and without an Include', async () => {
    const stock = readFileSync('/usr/share/openssh/sshd_config', 'utf8');
    const machine = await boot([...own(), '--port', '2222', '--address', JUMPHOST4], {
      sshdConfig: stock.replace(/^Include.*$/m, ''),
      sshSocket: true,
    });
    assert.match(machine.console, /: READY/);
    const calls = await machine.calls();
    assert.match(calls, /^systemctl disable --now ssh\.socket\nsystemctl enable ssh\.service$/m);
    const knownHosts = join(lab.directory, 'known_hosts-port');
    writeFileSync(knownHosts, `${said(machine, /known_hosts: (.*)/)}\n`);
    const { stdout } = await ssh(USER, key(), ['-W', `${API1}:80`, JUMPHOST4], {
      port: 2222,
      knownHosts,
      input: GET,
    });
    assert.match(stdout, /^HTTP\/1/);
    assert.ok(await administers(2222));
    assert.match((await ssh(USER, key(), ['-N', JUMPHOST4])).stderr, /Connection refused/);
  });

  it('shows a given certificate to users who know the authority alone', async () => {
    const path = (name: string) => join(lab.directory, name);
    for (const name of ['authority', 'given'])
      await mustRun(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', path(name)]);
    const signing = ['-s', path('authority'), '-h', '-I', 'jump', '-n', JUMPHOST4];
    await mustRun(['ssh-keygen', '-q', ...signing, `${path('given')}.pub`]);
    const machine = await boot([
      ...[...own(), '--address', JUMPHOST4, '--host-private-key', path('given')],
      ...['--host-certificate', `${path('given')}-cert.pub`],
      ...['--host-ca', `${path('authority')}.pub`],
    ]);
    assert.match(machine.console, /: READY/);
    const head = await machine.script('cat /var/lib/cloud/instance/user-data.txt');
    const [, line = ''] = /^# {3}(@cert-authority .*)$/m.exec(head) ?? [];
    writeFileSync(path('known_hosts-authority'), `${line}\n`);
    const knownHosts = path('known_hosts-authority');
    const { stdout, stderr } = await ssh(USER, key(), ['-W', `${API1}:80`, JUMPHOST4], {
      knownHosts,
      input: GET,
    });
    assert.match(stdout, /^HTTP\/1/, stderr);
  });

  it('is signed after its boot as the comment says', async () => {
    const path = (name: string) => join(lab.directory, name);
    await mustRun(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', path('later')]);
    const args = [...own(), '--address', JUMPHOST4, '--host-ca', `${path('later')}.pub`];
    const machine = await boot(args);
    assert.match(machine.console, /: READY/);
    const head = await machine.script('cat /var/lib/cloud/instance/user-data.txt');
    const [, line = ''] = /^# {3}(@cert-authority .*)$/m.exec(head) ?? [];
    const knownHosts = path('known_hosts-later');
    writeFileSync(knownHosts, `${line}\n`);
    // Where the log goes to the console as well: what a client has sent as its user's name.
    const [, , evil = ''] = readFileSync(`${key()}.pub`, 'utf8').match(/(ssh-ed25519 (\S+))/) ?? [];
    const logged = `sshd[9]: Invalid user tunnel-jumphost: known_hosts: x ssh-ed25519 ${evil} from`;
    writeFileSync(path('console'), `${machine.console}\n${logged}\n`);
    const [, commands = ''] = /CA below:\n([\s\S]*)\n# Until then/.exec(head) ?? [];
    const script = commands
      .replaceAll(/^# {3}/gm, '')
      .replace('openstack console log show NAME', `cat ${path('console')}`)
      .replace('-s CA', `-q -s ${path('later')}`)
      // What goes to the machine by ssh as an administrator with sudo.
      .replaceAll(/^ssh (.*)$/gm, '');
    await mustRun(['sh', '-ec', `cd ${lab.directory}\n${script}`]);
    const before = await ssh(USER, key(), ['-N', JUMPHOST4], { knownHosts });
    assert.match(before.stderr, /Host key verification failed/);
    const certificate = readFileSync(path('host-cert.pub'), 'utf8');
    await machine.exec(['tee', '/etc/ssh/ssh_host_ed25519_key-cert.pub'], certificate);
    await machine.script('systemctl reload ssh; sleep 0.5');
    const { stdout, stderr } = await ssh(USER, key(), ['-W', `${API1}:80`, JUMPHOST4], {
      knownHosts,
      input: GET,
    });
    assert.match(stdout, /^HTTP\/1/, stderr);
  });

  it('takes keys from a source, and none of its own', async () => {
    const team = readFileSync(`${key()}.pub`, 'utf8');
    const machine = await boot(['--keys-from', '/bin/cat /etc/team.pub'], {
      files: { 'etc/team.pub': team },
    });
    assert.match(machine.console, /: READY/);
    assert.ok(await reaches(`${API1}:80`), await machine.log());
    assert.ok(!(await reaches('127.0.0.1:22')));
    assert.match((await ssh(USER, administratorKey(), ['-N', JUMPHOST4])).stderr, /denied/);
    assert.equal(
      await machine.script('stat -c "%a %U" /var/cache/tunnel-keys'),
      '700 tunnel-keys\n',
    );
  });

  it('asks users for a code, and administrators for none', {
    skip: labUnavailable('google-authenticator'),
  }, async () => {
    const machine = await boot([...own(), '--mfa']);
    assert.match(machine.console, /: READY/);
    const refused = await ssh(USER, key(), ['-N', JUMPHOST4]);
    assert.match(refused.stderr, /Permission denied \(keyboard-interactive\)/);
    assert.ok(await administers());
    assert.match(
      await machine.log(),
      /Postponed keyboard-interactive|Partial publickey for tunnel/,
    );
  });
});
