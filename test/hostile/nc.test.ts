import assert from 'node:assert/strict';
import { type NcRow, NcTrial } from '../support/hostile/local.ts';
import { NC_ROWS } from '../support/hostile/rows/nc.ts';
import { ECHO_HOST } from '../support/hostile/server.ts';
import { describeLocalRows } from '../support/hostile/suite.ts';

const GOOD: NcRow = {
  name: 'good',
  does: 'nothing wrong',
  told: 'nothing',
  ends: 'nothing',
  async run(trial) {
    const child = trial.start({ host: ECHO_HOST });
    trial.reads(child);
    child.stdin?.end('echo');
    assert.equal(await trial.ended(child), 0);
    assert.equal(trial.stdout, 4);
  },
};

describeLocalRows('nc', NC_ROWS, GOOD, NcTrial.run);
