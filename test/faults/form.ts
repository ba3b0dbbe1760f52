/** `FAULTS_SHORT=1` is the form for a pipeline: the same faults, fewer rounds and versions. */
export const short: boolean = process.env.FAULTS_SHORT === '1'
