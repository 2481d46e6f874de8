/** Who is asked, and for how long: the run's own terminal, or that of `reconnect` and `reload`. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Configuration } from '../../../src/config/configuration.ts';
import type { ReloadAnswer } from '../../../src/control/status.ts';
import { PrompterInUse } from '../../../src/session/prompterinuse.ts';
import { Reloads } from '../../../src/session/reloads.ts';
import type { Prompter } from '../../../src/ssh/prompter.ts';
import { nobody } from '../../../src/ssh/prompter.ts';

/** Answers with its name until it leaves. */
class Person implements Prompter {
  readonly #name: string;
  present = true;

  constructor(name: string) {
    this.#name = name;
  }

  canAsk(): boolean {
    return this.present;
  }

  secret(): Promise<string> {
    return Promise.resolve(this.#name);
  }

  line(): Promise<string> {
    return this.secret();
  }

  confirm(): Promise<boolean> {
    return Promise.resolve(true);
  }
}

/** Work that lasts until `end` is called. */
function lasting() {
  let end = (): void => {};
  const work = new Promise<void>((resolve) => {
    end = resolve;
  });
  return { work: () => work, end: () => end() };
}

describe('the prompter in use', () => {
  it('asks whoever wants something while that is done, and one at a time', async () => {
    const prompter = new PrompterInUse(new Person('own'));
    const { work, end } = lasting();
    const done = prompter.during(new Person('caller'), work);
    assert.equal(await prompter.secret('?'), 'caller');
    await assert.rejects(
      prompter.during(new Person('another'), async () => {}),
      { code: 'control-busy' },
    );
    await prompter.unlessBusy(new Person('another'), async () => {
      assert.equal(await prompter.secret('?'), 'caller');
    });
    end();
    await done;
    assert.equal(await prompter.secret('?'), 'own');
  });

  it('shows notices to whoever is asked, if that is somewhere else', async () => {
    const prompter = new PrompterInUse(new Person('own'));
    const shown: (readonly string[])[] = [];
    class Caller extends Person {
      readonly asksElsewhere = () => true;
      readonly show = async (lines: readonly string[]) => void shown.push(lines);
    }
    await prompter.show(['to nobody']);
    assert.equal(prompter.asksElsewhere(), false);
    await prompter.during(new Caller('caller'), async () => {
      assert.equal(prompter.asksElsewhere(), true);
      await prompter.show(['touch your key']);
    });
    assert.deepEqual(shown, [['touch your key']]);
  });

  it('asks nobody who has left, and lets the next one in', async () => {
    const prompter = new PrompterInUse(new Person('own'));
    const [caller, next] = [new Person('caller'), new Person('next')];
    const first = lasting();
    const done = prompter.during(caller, first.work);
    caller.present = false;
    assert.equal(await prompter.secret('?'), 'own');
    const second = lasting();
    const nextDone = prompter.during(next, second.work);
    first.end();
    await done;
    assert.equal(await prompter.secret('?'), 'next', 'the first one takes nothing away');
    second.end();
    await nextDone;
    assert.equal(await prompter.secret('?'), 'own');
  });
});

describe('the question that waits', () => {
  /** Answers when it is told to. */
  class Slow extends Person {
    answer: (text: string) => void = () => {};

    override secret(): Promise<string> {
      return new Promise((resolve) => {
        this.answer = resolve;
      });
    }
  }

  it('is known as long as it waits, with where it can be answered', async () => {
    const [own, caller] = [new Slow('own'), new Slow('caller')];
    const prompter = new PrompterInUse(own);
    const seen: (string | undefined)[] = [];
    const end = prompter.onChange(() => {
      const { question } = prompter;
      seen.push(question && `${question.at}: ${question.text}`);
    });
    const first = prompter.secret('Co\u001b[2Jde:');
    own.answer('1');
    assert.equal(await first, '1');
    await prompter.during(caller, async () => {
      const [one, two] = [prompter.secret('Code:'), prompter.line(`${'x'.repeat(500)}:`)];
      assert.equal(prompter.question?.text, 'Code:', 'the one that was asked first');
      caller.answer('2');
      await two;
      caller.answer('1');
      await Promise.race([one, two]);
    });
    end();
    assert.equal(seen[0]?.includes('\u001b'), false);
    assert.match(seen[0] ?? '', /^tunnel: Co/);
    assert.equal(seen[1], undefined);
    assert.equal(seen[2], 'caller: Code:');
  });

  it('is none where nobody can be asked', async () => {
    const prompter = new PrompterInUse(nobody('it is a service'));
    const failed = prompter.secret('Code:');
    assert.equal(prompter.question, undefined);
    await assert.rejects(failed, { code: 'no-terminal' });
  });
});

describe('a reload that has to wait for the tunnel', () => {
  const answer: ReloadAnswer = { said: 'reloaded', notices: [] };

  it('leaves the questions of the start to whoever starts it', async () => {
    const prompter = new PrompterInUse(new Person('own'));
    const reloads = new Reloads(() => Promise.reject<Configuration>(new Error('not read')));
    const asking = (person: Person) => reloads.request((work) => prompter.unlessBusy(person, work));
    const [gone, there] = [new Person('gone'), new Person('there')];
    const all = [asking(gone), reloads.request(), asking(there)];
    assert.equal(await prompter.secret('?'), 'own');
    await prompter.during(new Person('reconnect'), async () => {});
    gone.present = false;
    let asked = '';
    let runs = 0;
    reloads.serve(async () => {
      runs++;
      asked = await prompter.secret('?');
      return answer;
    });
    assert.deepEqual(await Promise.all(all), [answer, answer, answer]);
    assert.deepEqual([runs, asked], [1, 'there'], 'one reload for all, by who is still there');
    assert.equal(await prompter.secret('?'), 'own');
  });

  it('asks nobody where no terminal was lent', async () => {
    const prompter = new PrompterInUse(nobody('it is a service'));
    const reloads = new Reloads(() => Promise.reject<Configuration>(new Error('not read')));
    reloads.serve(async () => {
      await assert.rejects(prompter.secret('?'), { code: 'no-terminal' });
      return answer;
    });
    assert.deepEqual(await reloads.request(), answer);
  });
});
