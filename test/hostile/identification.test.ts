import { IDENTIFICATION_ROWS } from '../support/hostile/rows/identification.ts';
import { describeRows } from '../support/hostile/suite.ts';

describeRows('before an SSH server has identified itself', IDENTIFICATION_ROWS);
