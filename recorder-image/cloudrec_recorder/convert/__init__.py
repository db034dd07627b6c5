"""A recording's segments of all attempts as MP4 or AAC, without encoding anything anew that need not be.

plan      from playlists to what is used of which segment (pure)
source    where segments are: a folder; bucket: a bucket
demux     a segment's bytes as pictures and sound
chunks    what goes from one to the next
lanes     all pictures, or all sound, of a stream in order: one time line, no overlaps, silence where sound is missing
recode    pictures of another size, sound of other channels; the whole when it is asked for
boxes     ISO base media file format
part      one MP4 file as it is written
engine    it all together: `to_mp4`, `to_aac`
"""
