/**
 * Questions that OpenSSH's sshd never asks, asked by a server made of the ssh2 library: many at a
 * time, for ever, without any, with a title, with control characters; and a password that has to be
 * changed.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { AuthContext, KeyboardAuthContext, Server } from 'ssh2';
import { TunnelError } from '../../../../../src/errors/errors.ts';
import type { Observer } from '../../../../../src/observe/observer.ts';
import { Authenticator, MAX_STAGES } from '../../../../../src/ssh/embedded/auth/authenticator.ts';
import { MAX_PROMPTS, MAX_ROUNDS } from '../../../../../src/ssh/embedded/auth/questions.ts';
import { dialSsh2 } from '../../../../../src/ssh/embedded/handshake/dial.ts';
import { createHostKeyVerifier } from '../../../../../src/ssh/hostkeys/verifier.ts';
import { MAX_SERVER_TEXT } from '../../../../../src/ssh/servertext.ts';
import type { AuthenticationSettings } from '../../../../../src/ssh/settings.ts';
import { makeKey } from '../../../../support/loopback-sshd.ts';
import {
  Answers,
  authenticationSettings,
  pinned,
  testSettings,
} from '../../../../support/settings.ts';
import ssh2 from '../../../../support/ssh2.ts';

let directory: string;
before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'tunnel-questions-'));
  await makeKey(join(directory, 'host'), 'ed25519');
});
after(() => rmSync(directory, { recursive: true, force: true }));

class Log implements Observer {
  readonly lines: string[] = [];
  readonly counted: string[] = [];
  log(level: string, message: string): void {
    this.lines.push(`${level}: ${message}`);
  }
  count(name: string): void {
    this.counted.push(name);
  }
}

interface Dialogue {
  readonly onAuthentication: (context: AuthContext) => void;
  readonly prompter?: Answers;
  readonly observer?: Log;
  readonly settings?: Partial<AuthenticationSettings>;
}

async function login({
  onAuthentication,
  prompter,
  observer = new Log(),
  settings,
}: Dialogue): Promise<void> {
  const server: Server = new ssh2.Server(
    { hostKeys: [readFileSync(join(directory, 'host'))] },
    (client) => {
      client.on('error', () => {
        // The client hangs up when it is done.
      });
      client.on('authentication', onAuthentication);
    },
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  try {
    const transport = await dialSsh2({
      jumpHosts: [
        {
          settings: testSettings({ hostName: 'jump', port, user: 'u' }),
          addresses: [{ host: '127.0.0.1', port }],
        },
      ],
      access: async () => ({
        hostKeys: createHostKeyVerifier(pinned(readFileSync(join(directory, 'host.pub'), 'utf8')), {
          prompter: undefined,
          observer,
        }),
        authenticator: await Authenticator.load({
          settings: authenticationSettings([], settings),
          prompter: prompter ?? new Answers(),
          observer,
          home: '/nonexistent',
        }),
      }),
      observer,
    });
    await transport.close();
  } finally {
    server.close();
  }
}

async function refused(dialogue: Dialogue): Promise<TunnelError> {
  const error: unknown = await login(dialogue).then(
    () => new Error('it was let in'),
    (reason: unknown) => reason,
  );
  if (error instanceof TunnelError) return error;
  throw error;
}

/** Permits one method only; the others are refused. */
function interactive(
  dialogue: (context: KeyboardAuthContext) => void,
): (context: AuthContext) => void {
  return (context) => {
    if (context.method === 'keyboard-interactive') dialogue(context);
    else context.reject(['keyboard-interactive']);
  };
}

describe('keyboard-interactive', () => {
  it('several prompts at once, in several rounds, each with its echo; title and instruction are shown, printable', async () => {
    const prompter = new Answers('one', 'two', 'three', 'four');
    const given: string[][] = [];
    await login({
      prompter,
      onAuthentication: interactive((context) => {
        const first = [
          { prompt: 'Pass\u001b[31mcode: ', echo: false },
          { prompt: 'Token\nnumber: ', echo: true },
          { prompt: '', echo: false },
        ];
        context.prompt(first, 'Title\u0007', 'Do this,\r\nthen \u202ethat', (answers) => {
          given.push([...answers]);
          context.prompt([{ prompt: 'Next: ', echo: true }], (more) => {
            given.push([...more]);
            context.accept();
          });
        });
      }),
    });
    assert.deepEqual(given, [['one', 'two', 'three'], ['four']]);
    assert.deepEqual(prompter.asked, [
      'secret: (u@jump) Passcode:',
      'line: (u@jump) Token number:',
      'secret: (u@jump) ',
      'line: (u@jump) Next:',
    ]);
    const shown = ['(u@jump) Title', '(u@jump) Do this,', '(u@jump) then  that'];
    assert.deepEqual(prompter.preambles, [shown, [], [], []]);
  });

  it('a round without a question is answered, and its text is shown', async () => {
    const observer = new Log();
    await login({
      observer,
      onAuthentication: interactive((context) =>
        context.prompt([], 'Look at your phone', 'and press\u001b[2J yes', (answers) => {
          assert.deepEqual([...answers], []);
          context.accept();
        }),
      ),
    });
    assert.ok(observer.lines.includes('notice: jump: Look at your phone'));
    assert.ok(observer.lines.includes('notice: jump: and press yes'), observer.lines.join('\n'));
  });

  it('long texts, addresses and prompts are shown whole', async () => {
    const url = `https://id.example.com/device?code=${'x'.repeat(5000)}&end`;
    const instruction = Array.from({ length: 200 }, (_, i) => `line ${i} ${url}`);
    const observer = new Log();
    const prompter = new Answers('one');
    await login({
      observer,
      prompter,
      onAuthentication: interactive((context) =>
        context.prompt([], `Open ${url}`, () =>
          context.prompt(
            [{ prompt: `Open ${url} and answer: `, echo: true }],
            'Sign in',
            instruction.slice(0, 5).join('\n'),
            () => context.accept(),
          ),
        ),
      ),
    });
    assert.ok(observer.lines.includes(`notice: jump: Open ${url}`));
    assert.deepEqual(prompter.asked, [`line: (u@jump) Open ${url} and answer:`]);
    assert.deepEqual(prompter.preambles, [
      ['Sign in', ...instruction.slice(0, 5)].map((line) => `(u@jump) ${line}`),
    ]);
  });

  it('a server that talks without end is cut off, told so once, and counted', async () => {
    const observer = new Log();
    await login({
      observer,
      onAuthentication: interactive((context) => {
        const flood = 'word '.repeat(5_000);
        const talk = (left: number): void =>
          context.prompt([], flood, () => (left === 0 ? context.accept() : talk(left - 1)));
        talk(5);
      }),
    });
    const said = observer.lines.filter((line) => line.startsWith('notice: jump: '));
    const length = said.join('').length;
    assert.ok(length > MAX_SERVER_TEXT - 100 && length < MAX_SERVER_TEXT + 1000, `${length}`);
    assert.equal(said.filter((line) => line.includes('said more than 64 KiB')).length, 1);
    assert.deepEqual(new Set(observer.counted), new Set(['tunnel_server_text_cut_total']));
  });

  it('a server that refuses without a question is asked once', async () => {
    let tries = 0;
    const error = await refused({
      onAuthentication: interactive((context) => {
        tries++;
        context.reject(['keyboard-interactive']);
      }),
    });
    assert.equal(error.code, 'auth-failed');
    assert.match(error.message, /permits keyboard-interactive; tried keyboard-interactive$/);
    assert.equal(tries, 1);
  });

  it('NumberOfPasswordPrompts limits the tries', async () => {
    let tries = 0;
    const error = await refused({
      prompter: new Answers('1', '2', '3', '4'),
      settings: { numberOfPasswordPrompts: 2 },
      onAuthentication: interactive((context) => {
        tries++;
        context.prompt([{ prompt: 'Code:', echo: false }], () =>
          context.reject(['keyboard-interactive']),
        );
      }),
    });
    assert.match(error.message, /tried keyboard-interactive \(2 times\)$/);
    assert.equal(tries, 2);
  });

  it('too many questions at once, or in endless rounds, are not answered', async () => {
    const many = Array.from({ length: MAX_PROMPTS + 1 }, (_, i) => ({
      prompt: `${i}`,
      echo: false,
    }));
    const onward = (context: KeyboardAuthContext): void =>
      context.prompt([], () => onward(context));
    for (const [dialogue, words] of [
      [
        (context: KeyboardAuthContext) => context.prompt(many, () => context.accept()),
        `${MAX_PROMPTS + 1} questions`,
      ],
      [onward, `more than ${MAX_ROUNDS} rounds`],
    ] as const) {
      const observer = new Log();
      const prompter = new Answers('a');
      const error = await refused({ observer, prompter, onAuthentication: interactive(dialogue) });
      assert.equal(error.code, 'auth-failed');
      assert.deepEqual(prompter.asked, []);
      assert.deepEqual(observer.counted, ['tunnel_auth_questions_limit_total']);
      assert.ok(
        observer.lines.some((line) => line.includes(words)),
        observer.lines.join('\n'),
      );
    }
  });

  it('rounds count in the whole login, and so do stages', async () => {
    const observer = new Log();
    let rounds = 0;
    const error = await refused({
      observer,
      settings: { numberOfPasswordPrompts: 1000 },
      onAuthentication: interactive((context) => {
        rounds++;
        // Each try is refused after one question.
        context.prompt([{ prompt: 'Code:', echo: true }], () =>
          context.reject(['keyboard-interactive']),
        );
      }),
      prompter: new Answers(...Array<string>(1000).fill('1')),
    });
    assert.equal(error.code, 'auth-failed');
    assert.equal(rounds, MAX_ROUNDS + 1);
    assert.deepEqual(observer.counted, ['tunnel_auth_questions_limit_total']);
    const again = new Log();
    let parts = 0;
    const endless = await refused({
      observer: again,
      onAuthentication: interactive((context) => {
        parts++;
        context.reject(['keyboard-interactive'], true);
      }),
    });
    assert.equal(endless.code, 'auth-failed');
    assert.match(endless.message, /in part again and again/);
    assert.equal(parts, MAX_STAGES + 1);
    assert.deepEqual(again.counted, ['tunnel_auth_stages_limit_total']);
  });

  it('a server that permits thousands of methods does not fill the screen', async () => {
    const methods = Array.from({ length: 3000 }, (_, number) => `m${number}`);
    const error = await refused({
      onAuthentication: (context) => context.reject(methods as never),
    });
    assert.match(error.message, /permits m0, m1, .* and 2990 more/);
    assert.ok(`${error.message}${error.hint}`.length < 600, error.message);
    const own = await refused({
      settings: { methods: ['publickey'] },
      onAuthentication: (context) => context.reject([...methods, 'password'] as never),
    });
    assert.ok(`${own.message}${own.hint}`.length < 600, own.hint);
  });

  it('when nobody can answer, another method takes over in the middle', async () => {
    const prompter = new Answers(new TunnelError('no-terminal', 'nobody'), 'the password');
    await login({
      prompter,
      onAuthentication: (context) => {
        if (context.method === 'keyboard-interactive')
          context.prompt([{ prompt: 'Code:', echo: true }], () => {});
        else if (context.method === 'password' && context.password === 'the password')
          context.accept();
        else context.reject(['keyboard-interactive', 'password']);
      },
    });
    assert.deepEqual(prompter.asked, ['line: (u@jump) Code:', 'secret: Password of u@jump:']);
  });

  it('the server’s next question is not taken for the abandoned one', async () => {
    const error = await refused({
      prompter: new Answers(new TunnelError('no-terminal', 'nobody'), 'old'),
      onAuthentication: (context) => {
        if (context.method === 'keyboard-interactive')
          context.prompt([{ prompt: 'Code:', echo: true }], () => {});
        else if (context.method === 'password') context.requestChange('Expired', () => {});
        else context.reject(['keyboard-interactive', 'password']);
      },
    });
    assert.equal(error.code, 'auth-password-expired');
  });

  it('a person who declines to answer ends authentication', async () => {
    const prompter = new Answers(
      new TunnelError('auth-cancelled', 'a question was not answered'),
      'x',
    );
    const error = await refused({
      prompter,
      onAuthentication: interactive((context) =>
        context.prompt([{ prompt: 'Code:', echo: true }], () => {}),
      ),
    });
    assert.equal(error.code, 'auth-cancelled');
    assert.equal(prompter.asked.length, 1);
  });
});

describe('a login that lacks only an answer', () => {
  const nobodyThere = () => new Answers(new TunnelError('no-terminal', 'nobody'));
  const code = interactive((context) =>
    context.prompt([{ prompt: 'Code:', echo: true }], () =>
      context.reject(['keyboard-interactive']),
    ),
  );

  it('is no refused one: nobody was there', async () => {
    const error = await refused({ prompter: nobodyThere(), onAuthentication: code });
    assert.equal(error.code, 'no-terminal');
    assert.match(error.message, /nobody could be asked for keyboard-interactive$/);
  });

  it('in BatchMode nobody ever will be', async () => {
    const settings = { batch: true };
    const error = await refused({ settings, onAuthentication: code });
    assert.equal(error.code, 'auth-failed');
  });

  it('is a refused one if an answer was refused before', async () => {
    const nobodyLeft = new Answers('wrong', new TunnelError('no-terminal', 'nobody'));
    const left = await refused({ prompter: nobodyLeft, onAuthentication: code });
    assert.equal(left.code, 'auth-failed');
    const declined = new TunnelError('auth-cancelled', 'a question was not answered');
    const given = await refused({
      prompter: new Answers('wrong', declined),
      onAuthentication: code,
    });
    assert.equal(given.code, 'auth-cancelled');
    assert.ok(given.cause instanceof TunnelError && given.cause.code === 'auth-failed');
  });
});

describe('a stored password', () => {
  const stored = (mode = 0o600): Partial<AuthenticationSettings> => {
    const passwordFile = join(directory, `password-${mode}`);
    writeFileSync(passwordFile, 'right\n', { mode });
    return { passwordFile };
  };

  it('answers for the user, who need not be there', async () => {
    const prompter = new Answers();
    const given: string[] = [];
    await login({
      prompter,
      settings: stored(),
      onAuthentication: (context) => {
        if (context.method !== 'password') return context.reject(['password']);
        given.push(context.password);
        context.accept();
      },
    });
    assert.deepEqual(given, ['right']);
    assert.deepEqual(prompter.asked, []);
  });

  it('answers what PAM asks for a password, and leaves a code to the user', async () => {
    const prompter = new Answers('123456');
    const given: string[][] = [];
    await login({
      prompter,
      settings: stored(),
      onAuthentication: interactive((context) => {
        context.prompt([{ prompt: 'Verification code: ', echo: false }], (code) => {
          given.push([...code]);
          context.prompt([{ prompt: 'Passwort: ', echo: false }], (password) => {
            given.push([...password]);
            context.accept();
          });
        });
      }),
    });
    assert.deepEqual(given, [['123456'], ['right']]);
    assert.deepEqual(prompter.asked, ['secret: (u@jump) Verification code:']);
  });

  it('is sent once in a login: then the user is asked', async () => {
    const prompter = new Answers('typed');
    const given: string[] = [];
    await login({
      prompter,
      settings: stored(),
      onAuthentication: (context) => {
        if (context.method !== 'password') return context.reject(['password']);
        given.push(context.password);
        if (given.length === 1) context.reject(['password']);
        else context.accept();
      },
    });
    assert.deepEqual(given, ['right', 'typed']);
  });

  it('is not sent if others may read it', async () => {
    const given: string[] = [];
    const error = await refused({
      settings: stored(0o644),
      onAuthentication: (context) => {
        if (context.method === 'password') given.push(context.password);
        context.reject(['password']);
      },
    });
    assert.equal(error.code, 'credential-unusable');
    assert.deepEqual(given, []);
  });
});

describe('password', () => {
  it('one that must be changed first: the error says so in the server’s words', async () => {
    const prompter = new Answers('old', 'new');
    const error = await refused({
      prompter,
      onAuthentication: (context) => {
        if (context.method === 'password')
          context.requestChange('Expired.\u001b[5m Choose a new one:', () => {});
        else context.reject(['password']);
      },
    });
    assert.equal(error.code, 'auth-password-expired');
    assert.match(error.message, /"u" only for changing it: "Expired\. Choose a new one:"/);
    assert.match(error.hint ?? '', /ssh u@jump/);
    assert.equal(prompter.asked.length, 1);
  });

  it('methods that only the system ssh has', async () => {
    const error = await refused({ onAuthentication: (context) => context.reject(['hostbased']) });
    assert.match(error.message, /permits hostbased; no key was offered/);
    assert.match(error.hint ?? '', /^use --transport openssh/);
  });
});
